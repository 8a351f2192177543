"""Training: the two stages, the fine-tune before them, and recipes that run everything.

Configurations and recipes are light; what trains is imported with its first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from layalign.train.finetune import finetune_language_model
    from layalign.train.progress import TrainingProgress, progress_bars
    from layalign.train.recipe import Recipe, load_recipe
    from layalign.train.run import run_recipe
    from layalign.train.stages import Stage, StageConfig
    from layalign.train.summary import RunSummary
    from layalign.train.trainer import StageResult, train_stage

_PLACES = {
    "Recipe": "recipe",
    "RunSummary": "summary",
    "Stage": "stages",
    "StageConfig": "stages",
    "StageResult": "trainer",
    "TrainingProgress": "progress",
    "finetune_language_model": "finetune",
    "load_recipe": "recipe",
    "progress_bars": "progress",
    "run_recipe": "run",
    "train_stage": "trainer",
}

__all__ = [
    "Recipe",
    "RunSummary",
    "Stage",
    "StageConfig",
    "StageResult",
    "TrainingProgress",
    "finetune_language_model",
    "load_recipe",
    "progress_bars",
    "run_recipe",
    "train_stage",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its module."""
    if name in _PLACES:
        return getattr(import_module(f"layalign.train.{_PLACES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
