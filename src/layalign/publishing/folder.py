"""Write a checkpoint as a folder to give away."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file
from safetensors.torch import save as serialise
from torch import Tensor

from layalign.errors import ConfigError
from layalign.eval.run_folder import RECIPE_NAME
from layalign.model import LayAlignConfig, LayAlignModel
from layalign.model.checkpoint import (
    ENCODER_FOLDER,
    LANGUAGE_MODEL_FOLDER,
    WEIGHTS_NAME,
    backbone_places,
    find_folder,
    read_weights,
    write_weights,
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
    *("path", "target_path", "hub", "output_dir"),
)
_PLAIN = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
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
        licence: Of the trained parameters, as the Hub names it. It goes into the head of a card
            that was written by hand, too.

    Returns:
        The folder.

    Raises:
        ConfigError: ``folder`` holds something, or there is nothing to merge, or a backbone is only
            on this machine, or numbers do not fit ``dtype``.
        CheckpointError: The checkpoint cannot be used. Nothing is left of ``folder`` then, as with
            every error.
    """
    source, target = find_folder(checkpoint, files=_FILES), Path(folder)
    config = LayAlignConfig.from_pretrained(source)
    _check_merge(config, merge=merge, backbones=backbones)
    if not backbones:
        _check_places(source, config)
        _check_lora(source, dtype)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigError(f"{target} is there and not empty; choose a new folder")
    with _new_folder(target):
        if backbones:
            _write_whole(source, target, merge=merge, dtype=dtype)
        else:
            _copy(source, target, dtype)
        _copy_settings(source, target, config)
        write_card(source, target, name=name or target.name, licence=licence)
    return target


@contextmanager
def _new_folder(target: Path) -> Iterator[None]:
    """Create a folder, and leave nothing in it if what fills it fails."""
    was_there = target.exists()
    target.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        if was_there:
            target.mkdir(exist_ok=True)
        raise


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


def _check_lora(source: Path, dtype: torch.dtype | None) -> None:
    """Refuse to cast a LoRA that the checkpoint would then not recognise.

    A fingerprint is that of numbers rounded to bfloat16, which float16 rounds otherwise.
    """
    if dtype == torch.float16 and (source / LANGUAGE_MODEL_FOLDER / LORA_WEIGHTS_NAME).is_file():
        raise ConfigError(
            "the language model of this checkpoint is a LoRA, which would not be recognised in "
            "float16; choose bfloat16, or put the backbones inside (--backbones)"
        )


def _write_whole(source: Path, target: Path, *, merge: bool, dtype: torch.dtype | None) -> None:
    model = LayAlignModel.from_pretrained(source)  # as stored, or it is not recognised in float16
    if merge:
        merge_lora(model.language_model)
        model.config.lora = None
    if dtype is not None:
        for name, parameter in model.named_parameters():
            parameter.data = _cast(name, parameter.data, dtype)
        model.config.text_config.dtype = dtype  # which a GPU loads backbones in
    model.save_pretrained(target, include_backbones=True)
    LayAlignProcessor.from_pretrained(source).save_pretrained(target)


def _copy(source: Path, target: Path, dtype: torch.dtype | None) -> None:
    for name in _FILES:
        shutil.copyfile(source / name, target / name)
    for name in _FOLDERS:
        if (source / name).is_dir():
            # Without the files' modes: weights may be their owner's alone.
            shutil.copytree(source / name, target / name, copy_function=shutil.copyfile)
    if dtype is not None:
        write_weights(target / WEIGHTS_NAME, _cast_all(read_weights(source), dtype))
        lora = target / LANGUAGE_MODEL_FOLDER / LORA_WEIGHTS_NAME
        if lora.is_file():
            state = _cast_all(load_file(lora), dtype)
            lora.write_bytes(serialise(state, metadata={"format": "pt"}))


def _cast_all(weights: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    return {name: _cast(name, weight, dtype) for name, weight in weights.items()}


def _cast(name: str, weight: Tensor, dtype: torch.dtype) -> Tensor:
    """Change the type of a weight, unless it is quantised."""
    if weight.dtype not in _PLAIN:
        return weight
    cast = weight.to(dtype)
    if not cast.isfinite().all():
        kind = str(dtype).removeprefix("torch.")
        raise ConfigError(f"{name} has numbers too large for {kind}; choose bfloat16 or float32")
    return cast


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
