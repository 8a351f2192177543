"""Load what strangers have made, with transformers; no code that comes with it is ever run."""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel

from layalign.embedded import resolve
from layalign.errors import BackboneError, reason
from layalign.model.states import INDEX_SUFFIX, read_index


def load_config(name_or_path: str, role: str, revision: str | None = None) -> PreTrainedConfig:
    """Load the configuration of a model.

    Args:
        name_or_path: Local folder, hub id or name of an embedded model.
        role: What the model is to be, for errors.
        revision: Hub revision.

    Raises:
        BackboneError: There is none, it is not valid, or it names a kernel of the Hub.
    """
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(
            resolve(name_or_path), revision=revision, trust_remote_code=False
        )
    except Exception as error:  # families check their fields with errors of every kind
        # Sizes that do not go together are an error of their own, whose last line says which.
        is_strict = isinstance(error, StrictDataclassError)
        why = str(error).splitlines()[-1].strip() if is_strict else reason(error)
        raise BackboneError(
            f"cannot load the {role} {name_or_path!r}: {why}; expected a folder with "
            "config.json and weights, or a Hugging Face model id"
        ) from error
    refuse_kernels(config, name_or_path)
    return config


def refuse_kernels(config: PreTrainedConfig, place: object) -> None:
    """Refuse a stranger's configuration by which transformers would fetch code and run it.

    Attention of a name like ``user/kernel`` comes from the Hub. Whoever loads a model may ask for
    it with ``attn_implementation``, the model itself may not.

    Args:
        config: As it was stored.
        place: What to call it in errors.

    Raises:
        BackboneError: It, or a configuration inside it, names such attention.
    """
    name = str(config._attn_implementation)
    if "/" in name:
        raise BackboneError(
            f"the config.json of {str(place)!r} asks for the attention implementation {name!r}, "
            "which is code from the Hub and is not run; take attn_implementation out of it"
        )
    for inner in config.sub_configs:
        if isinstance(found := getattr(config, inner, None), PreTrainedConfig):
            refuse_kernels(found, place)


def load_model(
    model_class: Any, name_or_path: str, role: str, *, config: PreTrainedConfig, **kwargs: Any
) -> PreTrainedModel:
    """Load the weights of a model, all of them.

    Args:
        model_class: One of transformers'.
        name_or_path: Local folder, hub id or name of an embedded model.
        role: What the model is to be, for errors.
        config: From :func:`load_config`.
        **kwargs: Of the class's ``from_pretrained``.

    Raises:
        BackboneError: There are none, they are damaged or incomplete, or are no tensors.
        CheckpointError: An index of shards is damaged, or leads out of the folder.
    """
    place = resolve(name_or_path)
    for index in sorted(Path(place).glob(f"*{INDEX_SUFFIX}")):
        read_index(index)
    try:
        model, info = model_class.from_pretrained(
            place, config=config, trust_remote_code=False, output_loading_info=True, **kwargs
        )
    except pickle.UnpicklingError as error:
        raise BackboneError(
            f"cannot load the {role} {name_or_path!r}: a file of weights holds more than tensors, "
            "which could run code and is not loaded; expected safetensors"
        ) from error
    except Exception as error:  # safetensors, torch and the hub have classes of their own
        raise BackboneError(
            f"cannot load the {role} {name_or_path!r} as {model_class.__name__}: {reason(error)}"
        ) from error
    _check_complete(info["missing_keys"], name_or_path, role)
    # An embedded model's folder is elsewhere on other machines.
    model.name_or_path = model.config.name_or_path = name_or_path
    loaded: PreTrainedModel = model
    return loaded


def _check_complete(missing: Iterable[str], name_or_path: str, role: str) -> None:
    """Refuse weights that transformers would make up."""
    if names := sorted(missing):
        raise BackboneError(
            f"the {role} {name_or_path!r} lacks {len(names)} weights, such as {names[0]}; copy "
            "the folder again, or choose a model of this kind"
        )
