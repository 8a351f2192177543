"""What is needed to repeat an evaluation: versions, hashes, recipe, command."""

from __future__ import annotations

import hashlib
import json
import platform
import shlex
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import resources
from importlib.metadata import PackageNotFoundError, version
from os import PathLike, fspath
from pathlib import Path
from typing import Any, NoReturn

import layalign
from layalign.data import DataSource
from layalign.durable import sha256
from layalign.errors import CheckpointError
from layalign.eval.run_folder import FINETUNE_NAME, RECIPE_NAME
from layalign.yaml_files import read_yaml

_EVALUATING = ("torch", "transformers", "numpy", "sacrebleu", "lm-eval")
_ADAPTER = "adapter_config.json"  # of PEFT, in place of a configuration
# What a model on the hub is loaded from; many repositories hold the weights in other forms too.
_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]


def versions(packages: Sequence[str] = _EVALUATING) -> dict[str, str]:
    """Versions of Python, of this library and of packages, as far as installed.

    Args:
        packages: By default those that the numbers of an evaluation depend on.
    """
    found = {"layalign": layalign.__version__, "python": platform.python_version()}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def command() -> str:
    """The command line of this process."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def find_model(checkpoint: str | PathLike[str]) -> Path:
    """Folder of a checkpoint or of a plain language model; what is on the hub is fetched.

    Args:
        checkpoint: Folder, hub id, or name of an embedded language model.

    Raises:
        CheckpointError: There is no such folder or hub repository.
    """
    from huggingface_hub import snapshot_download

    from layalign.embedded import resolve
    from layalign.model.checkpoint import find_folder

    place = resolve(fspath(checkpoint))
    if place.count("/") == 1 and not Path(place).exists():
        with suppress(OSError, ValueError):  # then `find_folder` says what is wrong
            return Path(snapshot_download(place, allow_patterns=_FILES))
    return find_folder(place, files=())


def is_language_model(folder: Path) -> bool:
    """Tell a plain language model from a checkpoint of LayAlign, by its configuration.

    Raises:
        CheckpointError: There is no configuration, or it cannot be read.
    """
    from layalign.model import LayAlignConfig

    file = folder / "config.json"
    if not file.is_file() and (folder / _ADAPTER).is_file():
        return True
    if not file.is_file() and (folder / RECIPE_NAME).is_file():
        _refuse_run(folder)
    try:
        found: str = json.loads(file.read_text("utf-8"))["model_type"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(
            f"{folder} has no config.json that names a model_type; expected a folder with a "
            "checkpoint of LayAlign or a language model"
        ) from error
    return found != LayAlignConfig.model_type


def _refuse_run(folder: Path) -> NoReturn:
    """Say what can be evaluated of a run whose folder is no checkpoint itself."""
    from layalign.model.checkpoint import LANGUAGE_MODEL_FOLDER, TRANSLATOR_FOLDER

    names = (LANGUAGE_MODEL_FOLDER, TRANSLATOR_FOLDER)
    parts = [fspath(folder / name) for name in names if (folder / name).is_dir()]
    advice = f"evaluate {' or '.join(parts)}, or " if parts else ""
    raise CheckpointError(
        f"{folder} holds a run, but no model that answers by itself; {advice}"
        "add to data.evaluation of its recipe what is to be measured"
    )


def describe_checkpoint(checkpoint: str | PathLike[str]) -> dict[str, Any]:
    """Hashes of the weights and of the prompt's settings, and the recipe if any.

    Of a checkpoint of LayAlign these are the trained weights and the processor's settings, of a
    plain language model all of its weights and, if it was fine-tuned here, what that has left.

    Raises:
        CheckpointError: There is no checkpoint in that place.
    """
    from layalign.model.checkpoint import LANGUAGE_MODEL_FOLDER, WEIGHTS_NAME, find_folder
    from layalign.processing import CONFIG_NAME

    folder = find_model(checkpoint).resolve()
    if plain := is_language_model(folder):
        weights, settings = _weights_sha256(folder), folder / FINETUNE_NAME
    else:
        find_folder(folder, files=("config.json", WEIGHTS_NAME, CONFIG_NAME))
        weights, settings = sha256(folder / WEIGHTS_NAME), folder / CONFIG_NAME
    # A run keeps the language model that it has fine-tuned in a folder of its own.
    inside = plain and folder.name == LANGUAGE_MODEL_FOLDER
    recipe = (folder.parent if inside else folder) / RECIPE_NAME
    return {
        "weights_sha256": weights,
        "processor_sha256": sha256(settings) if settings.is_file() else None,
        "recipe": read_yaml(recipe) if recipe.is_file() else None,
    }


def _weights_sha256(folder: Path) -> str:
    """The hash of a model's only weights file, or of the hashes of all of them in order."""
    hashes = [sha256(file) for file in sorted(folder.glob("*.safetensors"))]
    if not hashes:
        raise CheckpointError(
            f"{folder} has no weights as .safetensors; save the model with save_pretrained"
        )
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


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
