"""What a stage has done so far, as it stands in every checkpoint."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

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
    """Token mean of every update, nats."""

    dev: list[DevResult] = field(default_factory=list)

    trained_parameters: int = 0
    """Of the stage."""

    @property
    def best(self) -> DevResult | None:
        """The lowest development loss; the first of equals."""
        return min(self.dev, key=lambda result: result.loss, default=None)

    def save(self, folder: Path) -> None:
        """Write the record into a checkpoint."""
        (folder / RECORD_NAME).write_text(json.dumps(asdict(self)) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Record:
        """Read the record of a checkpoint."""
        values = json.loads((folder / RECORD_NAME).read_text(encoding="utf-8"))
        return cls(
            usage=Usage(**values["usage"]),
            losses=values["losses"],
            dev=[DevResult(**result) for result in values["dev"]],
            trained_parameters=values.get("trained_parameters", 0),
        )


def perplexity(loss: float) -> float:
    """Exponential of a loss in nats; infinite rather than an overflow."""
    return math.exp(loss) if loss < 700 else math.inf
