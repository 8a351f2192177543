"""Evaluation: systems that answer, scores with intervals, and their comparison."""

from layalign.eval.answers import numbers_equal, parse_choice, parse_number
from layalign.eval.comparison import compare
from layalign.eval.metrics import Estimate, Metric, macro_average, score, wilson_interval
from layalign.eval.results import EvaluationResult, LanguageResult, Prediction
from layalign.eval.runner import Progress, evaluate, evaluate_checkpoint

__all__ = [
    "Estimate",
    "EvaluationResult",
    "LanguageResult",
    "Metric",
    "Prediction",
    "Progress",
    "compare",
    "evaluate",
    "evaluate_checkpoint",
    "macro_average",
    "numbers_equal",
    "parse_choice",
    "parse_number",
    "score",
    "wilson_interval",
]
