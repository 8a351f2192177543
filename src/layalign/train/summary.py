"""What a run leaves behind."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from layalign.errors import TrainingError, reason


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """What a run has done; :meth:`to_dict` is what stands in ``summary.json``."""

    output_dir: str
    """Everything is in here."""

    stages: Mapping[str, Mapping[str, Any]]
    """Figures of every stage; of a dry run, examples and planned updates (None if unknown, for
    updates also if only tokens or minutes end the stage)."""

    language_model: str | None = None
    """The language model that is the result, where it is a plain one."""

    evaluation: Mapping[str, Any] | None = None
    """What :func:`layalign.train.measure.measure` returns; None without evaluation data."""

    system: str | None = None
    """What the run is about, under the name of its file of predictions; None if nothing was
    evaluated."""

    peak_memory_gib: float | None = None
    """Largest memory of the last session: of the GPU if there is one, else of the process."""

    seconds: Mapping[str, float] = field(default_factory=dict)
    """Wall-clock seconds of every phase, in this session."""

    seed: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)
    dry_run: bool = False

    plan: Mapping[str, Any] | None = None
    """Of a dry run, what :func:`layalign.train.plan.make_plan` says beside the stages."""

    @property
    def checkpoint(self) -> str:
        """What can be evaluated: the folder, or the language model if that is the result."""
        return self.language_model or self.output_dir

    @property
    def trained_parameters(self) -> int:
        """How many numbers the last stage learnt; 0 if nothing was trained."""
        trained = [stage.get("trained_parameters") for stage in self.stages.values()]
        return next((count for count in reversed(trained) if count is not None), 0)

    @property
    def training_seconds(self) -> float:
        """Of all stages over all sessions; the warm start of the adapter is not in it."""
        return self._total("seconds")

    @property
    def translation_seconds(self) -> float:
        """Of the translations that stages have read; not in :attr:`training_seconds`."""
        return self._total("translation_seconds")

    def _total(self, figure: str) -> float:
        return float(sum(stage.get(figure, 0.0) for stage in self.stages.values()))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, with what follows from them."""
        derived = ("trained_parameters", "training_seconds", "translation_seconds")
        return {**dataclasses.asdict(self), **{name: getattr(self, name) for name in derived}}

    @classmethod
    def load(cls, path: Path) -> RunSummary:
        """Read what a finished run has left in ``summary.json``.

        Raises:
            TrainingError: It is damaged.
        """
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            names = [field.name for field in dataclasses.fields(cls)]
            return cls(**{name: values[name] for name in names if name in values})
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise TrainingError(
                f"{path} is damaged ({reason(error)}); delete it to resume the run"
            ) from error
