"""Sizes of a backbone as a user writes them: numbers, a known name, a file, a folder, a hub id."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import yaml
from huggingface_hub.errors import StrictDataclassError
from transformers import CONFIG_MAPPING, PreTrainedConfig

from layalign.embedded.registry import MODELS
from layalign.errors import ConfigError, nearest
from layalign.model.known_sizes import known_config
from layalign.model.pretrained import load_config

# What a word may be called in a family's configuration; the first name that it has counts.
_WORDS = {
    "layers": ("encoder_layers", "num_hidden_layers"),
    "width": ("hidden_size",),
    "heads": ("encoder_attention_heads", "num_attention_heads"),
    "kv_heads": ("num_key_value_heads",),
    "head_dim": ("head_dim",),
    "ff": ("encoder_ffn_dim", "ffn_dim", "d_ff", "intermediate_size", "n_inner"),
    "vocab": ("vocab_size",),
}
_NEEDED = ("layers", "width", "heads")
_EXAMPLE = "llama:layers=8,width=512,heads=8,kv_heads=4,ff=1376,vocab=32000"


def backbone_config(text: str, role: str) -> PreTrainedConfig:
    """The configuration that a text stands for. Only a hub id needs a network.

    Args:
        text: What :func:`sized_config` understands, a configuration file, a folder or a hub id.
        role: ``"encoder"`` or ``"language model"``, for messages.

    Raises:
        ConfigError: Numbers are not valid.
        BackboneError: There is no such configuration.
    """
    return sized_config(text) or load_config(text, role)


def sized_config(text: str) -> PreTrainedConfig | None:
    """The configuration that numbers or a known name stand for.

    Numbers are a family of transformers, a colon and sizes: ``layers``, ``width`` and ``heads``,
    and, if they are not as many key/value heads as heads, width / heads a head and 4 * width in
    the feed-forward part, ``kv_heads``, ``head_dim`` and ``ff``. ``vocab`` and any field of the
    family's configuration have its defaults. Names of the embedded models and of
    :data:`~layalign.model.known_sizes.KNOWN_SIZES` stand for their sizes.

    Args:
        text: Such as ``llama:layers=8,width=512,heads=8``, or a name.

    Returns:
        None for any other text.

    Raises:
        ConfigError: Numbers are not valid.
    """
    if re.match(r"[\w-]+:.*=", text):
        return _from_numbers(text)
    if text in MODELS:
        values: dict[str, Any] = dict(MODELS[text].facts.config)
        config: PreTrainedConfig = CONFIG_MAPPING[values.pop("model_type")](**values)
        return config
    return known_config(text)


def _from_numbers(text: str) -> PreTrainedConfig:
    family, _, numbers = text.partition(":")
    if family not in CONFIG_MAPPING:
        hint = nearest(family, CONFIG_MAPPING.keys())
        raise ConfigError(f"{text!r}: transformers has no family {family!r}{hint}")
    given = dict(_pair(text, part) for part in numbers.split(","))
    if missing := [word for word in _NEEDED if word not in given]:
        raise ConfigError(f"{text!r} lacks {', '.join(missing)}; expected e.g. {_EXAMPLE}")
    _check_sizes(text, given)
    model_class: Any = CONFIG_MAPPING[family]
    names = _Names(model_class)
    values = {names.find(word): value for word, value in _implied(given).items() if word in names}
    values |= dict.fromkeys(names.ids_from(given.get("vocab", math.inf)), 0)
    for word, value in given.items():
        if word not in names:
            known = [*(word for word in _WORDS if word in names), *names.fields]
            raise ConfigError(f"{text!r}: {family} has no {word!r}{nearest(word, known)}")
        values[names.find(word)] = value
    try:
        config: PreTrainedConfig = model_class(**values)
    except (StrictDataclassError, TypeError, ValueError) as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise ConfigError(f"{text!r} is no valid {family}: {reason}") from error
    return config


def _pair(text: str, part: str) -> tuple[str, Any]:
    word, separator, value = part.partition("=")
    if not separator or not value.strip():
        raise ConfigError(f"{text!r}: {part!r} is no setting; expected e.g. {_EXAMPLE}")
    try:
        return word.strip(), yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"{text!r}: the value of {word} cannot be read") from error


def _check_sizes(text: str, given: Mapping[str, Any]) -> None:
    for word in _WORDS:
        value = given.get(word, 1)
        if type(value) is not int or value < 1:
            raise ConfigError(f"{text!r}: {word} is {value!r}; expected a whole number above 0")
    if "head_dim" not in given and given["width"] % given["heads"]:
        raise ConfigError(
            f"{text!r}: the width {given['width']} is no multiple of {given['heads']} heads; "
            "change one of them, or give head_dim"
        )


def _implied(given: Mapping[str, Any]) -> dict[str, int]:
    """What follows from the sizes that must be given, where nothing else is said."""
    width, heads = given["width"], given["heads"]
    return {"kv_heads": heads, "head_dim": width // heads, "ff": 4 * width}


class _Names:
    """What a family's configuration calls its fields, with their defaults."""

    def __init__(self, model_class: Any) -> None:
        self.fields: Mapping[str, Any] = model_class().to_dict()
        self.aliases: Mapping[str, str] = model_class.attribute_map

    def __contains__(self, word: str) -> bool:
        return self.find(word) in self.fields

    def find(self, word: str) -> str:
        """The field that a word, or the field's own name, stands for."""
        names = [self.aliases.get(name, name) for name in _WORDS.get(word, (word,))]
        return next((name for name in names if name in self.fields), names[-1])

    def ids_from(self, vocabulary: float) -> list[str]:
        """Fields of special tokens that a smaller vocabulary does not have."""
        return [
            name
            for name, value in self.fields.items()
            if name.endswith("_token_id") and isinstance(value, int) and value >= vocabulary
        ]
