"""Write a checkpoint as a folder to give away."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file
from safetensors.torch import save as serialise

from layalign.errors import ConfigError
from layalign.eval.run_folder import RECIPE_NAME
from layalign.model import LayAlignConfig, LayAlignModel
from layalign.model.checkpoint import (
    ENCODER_FOLDER,
    LANGUAGE_MODEL_FOLDER,
    WEIGHTS_NAME,
    backbone_places,
    find_folder,
)
from layalign.model.lora import lora_base, merge_lora
from layalign.model.tokenizers import ENCODER_TOKENIZER_FOLDER, TOKENIZER_FOLDER
from layalign.processing import CONFIG_NAME, LayAlignProcessor
from layalign.publishing.card import write_card
from layalign.yaml_files import read_yaml

LORA_WEIGHTS_NAME = "adapter_model.safetensors"
_FILES = ("config.json", "generation_config.json", WEIGHTS_NAME, CONFIG_NAME)
# Settings that may be paths.
_PLACES = (
    *("_name_or_path", "encoder", "language_model", "translator"),
    *("path", "target_path", "output_dir"),
)
_FOLDERS = (LANGUAGE_MODEL_FOLDER, TOKENIZER_FOLDER, ENCODER_TOKENIZER_FOLDER)


def export(
    checkpoint: str | PathLike[str],
    folder: str | PathLike[str],
    *,
    backbones: bool = False,
    merge: bool = False,
    dtype: torch.dtype | None = None,
    name: str | None = None,
    licence: str | None = None,
) -> Path:
    """Write a checkpoint with its processor and a model card, and nothing that names this machine.

    Args:
        checkpoint: Folder, hub id or name of a shipped checkpoint.
        folder: Created; must be empty if it is there.
        backbones: Put both backbones inside, so that the folder needs nothing else, not even a
            network. Otherwise it refers to them by the names that they were loaded by.
        merge: With ``backbones``, add the LoRA that was trained with the rest to the language
            model's weights. The bare language model is then the one with it.
        dtype: Type of the numbers written; as they are by default.
        name: What the card says to load it by, such as a hub id; by default ``folder``'s own name.
        licence: Of the trained parameters, as the Hub names it.

    Returns:
        The folder.

    Raises:
        ConfigError: ``folder`` holds something, or there is nothing to merge, or a backbone is only
            on this machine.
        CheckpointError: The checkpoint cannot be used.
    """
    source, target = find_folder(checkpoint, files=_FILES), Path(folder)
    config = LayAlignConfig.from_pretrained(source)
    _check_merge(config, merge=merge, backbones=backbones)
    if not backbones:
        _check_places(source, config)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigError(f"{target} is there and not empty; choose a new folder")
    target.mkdir(parents=True, exist_ok=True)
    if backbones:
        _write_whole(source, target, merge=merge, dtype=dtype)
    else:
        _copy(source, target)
    if dtype is not None:
        for place in (target / WEIGHTS_NAME, target / LANGUAGE_MODEL_FOLDER / LORA_WEIGHTS_NAME):
            _cast(place, dtype)
    _copy_settings(source, target, config)
    write_card(source, target, name=name or target.name, licence=licence)
    return target


def _check_merge(config: LayAlignConfig, *, merge: bool, backbones: bool) -> None:
    if merge and config.lora is None:
        raise ConfigError("there is no LoRA in this checkpoint to merge; leave merge out")
    if merge and not backbones:
        raise ConfigError(
            "a merged LoRA changes the language model, which must then be inside; set backbones too"
        )


def _check_places(source: Path, config: LayAlignConfig) -> None:
    """Refuse backbones that nobody else has."""
    encoder, language_model = backbone_places(source, config)
    base = lora_base(language_model)
    inside = (source / LANGUAGE_MODEL_FOLDER).is_dir() and base is None
    needed = [encoder, *([] if inside else [base.name_or_path if base else language_model])]
    for place in needed:
        if Path(place).is_dir():
            raise ConfigError(
                f"{place} is a folder of this machine, which others do not have; put the backbones "
                "inside (--backbones)"
            )


def _write_whole(source: Path, target: Path, *, merge: bool, dtype: torch.dtype | None) -> None:
    model = LayAlignModel.from_pretrained(source, dtype=dtype)
    if merge:
        merge_lora(model.language_model)
        model.config.lora = None
    model.save_pretrained(target, include_backbones=True)
    LayAlignProcessor.from_pretrained(source).save_pretrained(target)


def _copy(source: Path, target: Path) -> None:
    for name in _FILES:
        shutil.copyfile(source / name, target / name)
    for name in _FOLDERS:
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name)


def _cast(file: Path, dtype: torch.dtype) -> None:
    if file.is_file():
        state = {
            name: tensor.to(dtype) if tensor.is_floating_point() else tensor
            for name, tensor in load_file(file).items()
        }
        file.write_bytes(serialise(state, metadata={"format": "pt"}))


def _copy_settings(source: Path, target: Path, config: LayAlignConfig) -> None:
    """Copy the recipe, and take out of it and of configurations where things were."""
    base = lora_base(backbone_places(source, config)[1])
    names = {config.language_model: base.name_or_path} if base else {}
    for place in ("", ENCODER_FOLDER, LANGUAGE_MODEL_FOLDER):
        file = target / place / "config.json"
        if file.is_file():
            values = _without_places(json.loads(file.read_text(encoding="utf-8")), names)
            text = json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False)
            file.write_text(text + "\n", encoding="utf-8")
    if (source / RECIPE_NAME).is_file():
        values = _without_places(read_yaml(source / RECIPE_NAME), names)
        text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
        (target / RECIPE_NAME).write_text(text, encoding="utf-8")


def _without_places(value: Any, names: Mapping[str, str], key: str = "") -> Any:
    """Plain values without absolute paths: with the names given, else the last part of the path."""
    if isinstance(value, dict):
        return {inner: _without_places(one, names, inner) for inner, one in value.items()}
    if isinstance(value, list):
        return [_without_places(one, names, key) for one in value]
    if key not in _PLACES or not isinstance(value, str):
        return value
    value = names.get(value, value)
    return Path(value).name if Path(value).expanduser().is_absolute() else value
