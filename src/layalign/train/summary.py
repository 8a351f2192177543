"""What a run leaves behind."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import transformers

import layalign


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """What a run has done; :meth:`to_dict` is what stands in ``summary.json``."""

    output_dir: str
    """The checkpoint."""

    stages: Mapping[str, Mapping[str, Any]]
    """Figures of every stage; of a dry run, examples and planned updates (None if unknown, for
    updates also if only tokens or minutes end the stage)."""

    evaluation: Mapping[str, Any] | None = None
    """What :func:`layalign.eval.compare` returns; None without evaluation data."""

    seconds: Mapping[str, float] = field(default_factory=dict)
    """Wall-clock seconds of every phase, in this session."""

    seed: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)
    dry_run: bool = False

    plan: Mapping[str, Any] | None = None
    """Of a dry run, what :func:`layalign.train.plan.make_plan` says beside the stages."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return dataclasses.asdict(self)


def versions() -> dict[str, str]:
    """Versions that the figures depend on."""
    return {
        "layalign": layalign.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
