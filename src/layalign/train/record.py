"""What a stage has done so far, as it stands in every checkpoint."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from layalign.errors import CheckpointError
from layalign.train.limits import Usage

RECORD_NAME = "record.json"


@dataclass(frozen=True, kw_only=True)
class DevResult:
    """Loss on the development set, nats per target token."""

    update: int
    """Updates done before."""

    loss: float
    """Mean over all target tokens."""

    languages: dict[str, float] = field(default_factory=dict)
    """Mean over the target tokens of each language."""

    @classmethod
    def of(cls, update: int, parts: Iterable[tuple[str, float, int]]) -> DevResult:
        """Add up parts of the set.

        Args:
            update: Updates done before.
            parts: Of each its language, the sum of its losses and the number of its targets.
        """
        sums: dict[str, tuple[float, int]] = {}
        for language, loss, count in parts:
            total, seen = sums.get(language, (0.0, 0))
            sums[language] = (total + loss, seen + count)
        return cls(
            update=update,
            loss=sum(total for total, _ in sums.values()) / sum(n for _, n in sums.values()),
            languages={language: total / count for language, (total, count) in sums.items()},
        )

    @property
    def perplexity(self) -> float:
        """Exponential of the loss."""
        return perplexity(self.loss)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, with the perplexities."""
        languages = {language: perplexity(loss) for language, loss in self.languages.items()}
        return {**asdict(self), "perplexity": self.perplexity, "perplexities": languages}


@dataclass(kw_only=True)
class Record:
    """Everything a resumed stage must know beyond weights, optimiser and random state."""

    usage: Usage = field(default_factory=Usage)
    losses: list[float] = field(default_factory=list)
    """Token mean of every update, nats; NaN for an update that was not made."""

    grad_norms: list[float] = field(default_factory=list)
    """Norm of the gradients of every update before they are clipped."""

    spikes: list[int] = field(default_factory=list)
    """Updates, from 1, whose loss was far above those before; see
    :func:`layalign.train.guard.is_spike`."""

    dev: list[DevResult] = field(default_factory=list)

    trained_parameters: int = 0
    """Of the stage."""

    @property
    def best(self) -> DevResult | None:
        """The lowest development loss; the first of equals."""
        numbers = (result for result in self.dev if math.isfinite(result.loss))
        return min(numbers, key=lambda result: result.loss, default=None)

    @property
    def bad_updates(self) -> list[int]:
        """Updates, from 1, that were not made because they were no numbers."""
        return [update for update, loss in enumerate(self.losses, start=1) if math.isnan(loss)]

    @property
    def unusual(self) -> dict[str, float]:
        """What is worth a line in a log about the last update; empty of an ordinary one."""
        if math.isnan(self.losses[-1]):
            return {"bad_updates": len(self.bad_updates)}
        return {"loss_spike": self.losses[-1]} if len(self.losses) in self.spikes[-1:] else {}

    def save(self, folder: Path) -> None:
        """Write the record into a checkpoint."""
        (folder / RECORD_NAME).write_text(json.dumps(asdict(self)) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Record:
        """Read the record of a checkpoint.

        Raises:
            CheckpointError: It is damaged.
        """
        try:
            values = json.loads((folder / RECORD_NAME).read_text(encoding="utf-8"))
            usage = Usage(**values.pop("usage"))
            dev = [DevResult(**result) for result in values.pop("dev")]
            return cls(**values, usage=usage, dev=dev)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise CheckpointError(
                f"{folder} is damaged ({error}); delete it to resume from the one before"
            ) from error


def perplexity(loss: float) -> float:
    """Exponential of a loss in nats; infinite rather than an overflow."""
    return math.exp(loss) if loss < 700 else math.inf
