"""Measure what a run has trained on the recipe's evaluation data."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from layalign.data import Example
from layalign.eval.comparison import compare
from layalign.eval.journal import Journal, slug
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
    folder: Path,
    progress: RunProgress | None = None,
) -> dict[str, Any]:
    """Evaluate all systems on the same items.

    Args:
        systems: By name; what is compared is the run's own, see :func:`own_system`, and the bare
            language model.
        examples: With gold answers.
        settings: Of the recipe.
        trained: Languages of the training data.
        folder: Every system's predictions go there as they are made, as ``SYSTEM.jsonl``; those
            that are there already are not asked for again.
        progress: Told how far it is.

    Returns:
        What :func:`layalign.eval.comparison.compare` returns, and ``systems``: for each, under the
        name of its file, ``items``, ``unparsed`` (percent), ``seconds`` and ``tokens_per_second``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    results = {
        name: _evaluate(name, system, examples, settings, folder, progress)
        for name, system in systems.items()
    }
    own = own_system(results)
    compared = compare(None if own == BARE else results[own], results.get(BARE), trained=trained)
    figures = {slug(name): result.figures() for name, result in results.items()}
    return {**compared, "systems": figures}


def own_system(names: Iterable[str]) -> str:
    """The system that a run is about: the first that is not the bare language model, or that."""
    return next((name for name in names if name != BARE), BARE)


def _evaluate(
    name: str,
    system: System,
    examples: Sequence[Example],
    settings: EvaluationRecipe,
    folder: Path,
    progress: RunProgress | None,
) -> EvaluationResult:
    def report(done: int, total: int, label: str = "") -> None:
        if progress is not None:
            progress(f"evaluate {name}", done / total, f"{done} of {total} items")

    with Journal(folder / f"{slug(name)}.jsonl", len(examples)) as journal:
        return evaluate(
            system,
            examples,
            metric=settings.metric,
            batch_size=settings.batch_size,
            journal=journal,
            progress=report,
        )
