"""Measure a trained model on a recipe's evaluation data, beside the bare language model."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from layalign.data import Example
from layalign.eval.comparison import compare
from layalign.eval.results import EvaluationResult
from layalign.eval.runner import evaluate
from layalign.eval.systems import BARE, LAYALIGN, System, make_systems
from layalign.model import LayAlignModel
from layalign.processing import LayAlignProcessor
from layalign.train.progress import RunProgress
from layalign.train.recipe import EvaluationRecipe


def measure(
    model: LayAlignModel,
    processor: LayAlignProcessor,
    examples: Sequence[Example],
    settings: EvaluationRecipe,
    *,
    trained: Collection[str],
    progress: RunProgress | None = None,
) -> dict[str, Any]:
    """Evaluate both on the same items.

    Args:
        model: What was trained.
        processor: With the template of its last stage.
        examples: With gold answers.
        settings: Of the recipe.
        trained: Languages of the training data.
        progress: Told how far it is.

    Returns:
        What :func:`layalign.eval.comparison.compare` returns.
    """
    systems = make_systems(
        model,
        processor,
        bare=settings.bare,
        bare_prompt_template=settings.bare_prompt_template,
        max_new_tokens=settings.max_new_tokens,
    )
    results = {
        name: _evaluate(name, system, examples, settings, progress)
        for name, system in systems.items()
    }
    return compare(results[LAYALIGN], results.get(BARE), trained=trained)


def _evaluate(
    name: str,
    system: System,
    examples: Sequence[Example],
    settings: EvaluationRecipe,
    progress: RunProgress | None,
) -> EvaluationResult:
    def report(done: int, total: int, label: str) -> None:
        if progress is not None:
            progress(f"evaluate {name}", done / total, label)

    return evaluate(
        system,
        examples,
        metric=settings.metric,
        batch_size=settings.batch_size,
        progress=report,
    )
