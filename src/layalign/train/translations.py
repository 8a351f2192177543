"""English translations under the questions that a stage trains on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from layalign.data import Example
from layalign.eval.comparison import ENGLISH
from layalign.eval.results import Answer
from layalign.eval.systems import OnBatch, System
from layalign.eval.translating import translated_once
from layalign.train.progress import RunProgress


def with_translations(
    parts: Mapping[str, Sequence[Example]],
    translator: System,
    folder: Path,
    *,
    batch_size: int,
    progress: RunProgress | None,
) -> tuple[list[Sequence[Example]], float]:
    """Put an English translation under every question of some parts of the data.

    Args:
        parts: By name.
        translator: Not asked for a part that has been translated before.
        folder: Where the translations of each part are remembered.
        batch_size: Examples translated at a time.
        progress: Told how many are done.

    Returns:
        The parts, and how many seconds their translation took when it was made.
    """
    made = [
        translated_once(
            examples,
            translator,
            folder / f"{name}-translations.json",
            batch_size=batch_size,
            on_batch=progress and _counted(f"translate {name}", examples, progress),
        )
        for name, examples in parts.items()
    ]
    return [examples for examples, _ in made], sum(seconds for _, seconds in made)


def _counted(phase: str, examples: Sequence[Example], progress: RunProgress) -> OnBatch:
    total = sum(example.language != ENGLISH for example in examples)
    done = 0

    def tell(found: Mapping[int, Answer]) -> None:
        nonlocal done
        done += len(found)
        progress(phase, done / total, f"{done:,} of {total:,} examples")

    return tell
