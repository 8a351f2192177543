"""What a run leaves behind."""

from __future__ import annotations

import dataclasses
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers

import layalign


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
    """What :func:`layalign.eval.compare` returns; None without evaluation data."""

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

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return dataclasses.asdict(self)

    @classmethod
    def load(cls, path: Path) -> RunSummary:
        """Read what a finished run has left in ``summary.json``."""
        values = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{f.name: values[f.name] for f in dataclasses.fields(cls) if f.name in values})


def versions() -> dict[str, str]:
    """Versions that the figures depend on."""
    return {
        "layalign": layalign.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
