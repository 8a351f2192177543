"""Evaluation: tasks, systems that answer, scores with intervals, and their comparison."""

from layalign.eval.answers import numbers_equal, parse_choice, parse_number
from layalign.eval.benchmarks import evaluate_checkpoint
from layalign.eval.comparison import compare
from layalign.eval.metrics import Estimate, Metric, macro_average, score, wilson_interval
from layalign.eval.prompts import Template
from layalign.eval.results import (
    Answer,
    EvaluationResult,
    LanguageResult,
    Prediction,
    TranslationResult,
)
from layalign.eval.runner import Progress, evaluate
from layalign.eval.tasks import Task, load_task, shipped_tasks

__all__ = [
    "Answer",
    "Estimate",
    "EvaluationResult",
    "LanguageResult",
    "Metric",
    "Prediction",
    "Progress",
    "Task",
    "Template",
    "TranslationResult",
    "compare",
    "evaluate",
    "evaluate_checkpoint",
    "load_task",
    "macro_average",
    "numbers_equal",
    "parse_choice",
    "parse_number",
    "score",
    "shipped_tasks",
    "wilson_interval",
]
