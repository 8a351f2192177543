"""Measure what a run has trained on the recipe's evaluation data."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from layalign.data import Example
from layalign.eval.comparison import compare
from layalign.eval.results import EvaluationResult
from layalign.eval.runner import evaluate
from layalign.eval.systems import BARE, System
from layalign.train.progress import RunProgress
from layalign.train.recipe import EvaluationRecipe


def measure(
    systems: Mapping[str, System],
    examples: Sequence[Example],
    settings: EvaluationRecipe,
    *,
    trained: Collection[str],
    progress: RunProgress | None = None,
) -> dict[str, Any]:
    """Evaluate all systems on the same items.

    Args:
        systems: By name; compared are the first that is not the bare language model, and that.
        examples: With gold answers.
        settings: Of the recipe.
        trained: Languages of the training data.
        progress: Told how far it is.

    Returns:
        What :func:`layalign.eval.comparison.compare` returns.
    """
    results = {
        name: _evaluate(name, system, examples, settings, progress)
        for name, system in systems.items()
    }
    own = next((result for name, result in results.items() if name != BARE), None)
    return compare(own, results.get(BARE), trained=trained)


def _evaluate(
    name: str,
    system: System,
    examples: Sequence[Example],
    settings: EvaluationRecipe,
    progress: RunProgress | None,
) -> EvaluationResult:
    def report(done: int, total: int, label: str = "") -> None:
        if progress is not None:
            progress(f"evaluate {name}", done / total, f"{done} of {total} items")

    return evaluate(
        system,
        examples,
        metric=settings.metric,
        batch_size=settings.batch_size,
        progress=report,
    )
