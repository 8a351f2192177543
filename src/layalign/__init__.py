"""Let an English language model understand many languages, through a multilingual encoder."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from layalign.errors import LayAlignError

if TYPE_CHECKING:
    from layalign.data import Example
    from layalign.eval import evaluate
    from layalign.generation import Chat, generate, generate_file
    from layalign.generation.pipeline import LayAlignPipeline
    from layalign.model import LayAlignConfig, LayAlignModel
    from layalign.processing import LayAlignProcessor
    from layalign.publishing import export
    from layalign.quickstart import run_quickstart
    from layalign.train.recipe import load_recipe
    from layalign.train.run import run_recipe

__version__ = "0.1.0"

__all__ = [
    "Chat",
    "Example",
    "LayAlignConfig",
    "LayAlignError",
    "LayAlignModel",
    "LayAlignPipeline",
    "LayAlignProcessor",
    "evaluate",
    "export",
    "generate",
    "generate_file",
    "load_recipe",
    "run_quickstart",
    "run_recipe",
]

# Where the public names are defined. They are imported on first use, so that `import layalign` and
# `layalign --help` do not wait for torch.
_HOMES = {
    "Chat": "layalign.generation",
    "Example": "layalign.data",
    "LayAlignConfig": "layalign.model",
    "LayAlignModel": "layalign.model",
    "LayAlignPipeline": "layalign.generation.pipeline",
    "LayAlignProcessor": "layalign.processing",
    "evaluate": "layalign.eval",
    "export": "layalign.publishing",
    "generate": "layalign.generation",
    "generate_file": "layalign.generation",
    "load_recipe": "layalign.train.recipe",
    "run_quickstart": "layalign.quickstart",
    "run_recipe": "layalign.train.run",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
