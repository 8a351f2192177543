"""What is needed to repeat an evaluation: versions, hashes, recipe, command."""

from __future__ import annotations

import hashlib
import platform
import shlex
import sys
from importlib import resources
from importlib.metadata import PackageNotFoundError, version
from os import PathLike
from pathlib import Path
from typing import Any

import layalign
from layalign.data import DataSource
from layalign.yaml_files import read_yaml

_PACKAGES = ("torch", "transformers", "numpy", "sacrebleu", "lm-eval")
_RECIPE = "recipe.yaml"  # what a training run leaves in its folder


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers depend on, as far as installed."""
    found = {"layalign": layalign.__version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def command() -> str:
    """The command line of this process."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def describe_checkpoint(checkpoint: str | PathLike[str]) -> dict[str, Any]:
    """Hashes of the trained weights and of the processor's settings, and the recipe if any.

    Raises:
        CheckpointError: There is no checkpoint in that place.
    """
    from layalign.model.checkpoint import WEIGHTS_NAME, find_folder
    from layalign.processing import CONFIG_NAME

    folder = find_folder(checkpoint, files=("config.json", WEIGHTS_NAME, CONFIG_NAME))
    recipe = folder / _RECIPE
    return {
        "weights_sha256": sha256(folder / WEIGHTS_NAME),
        "processor_sha256": sha256(folder / CONFIG_NAME),
        "recipe": read_yaml(recipe) if recipe.is_file() else None,
    }


def hash_data(source: DataSource) -> dict[str, str]:
    """SHA-256 of each file of a source, by its name inside the source.

    All files of a folder are listed, whichever languages are read. A set of the Hugging Face Hub
    has none; its revision is part of the task.
    """
    if source.name is not None:
        with resources.as_file(resources.files("layalign.data") / source.name) as folder:
            return hash_files(folder, f"{source.split}.*")
    return hash_files(Path(source.path)) if source.path is not None else {}


def hash_files(place: Path, pattern: str = "*") -> dict[str, str]:
    """SHA-256 of a file, or of each file in a folder and below."""
    if place.is_file():
        return {place.name: sha256(place)}
    files = sorted(file for file in place.rglob(pattern) if file.is_file())
    return {file.relative_to(place).as_posix(): sha256(file) for file in files}


def sha256(path: str | PathLike[str]) -> str:
    """Hash a file without holding it in memory."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
