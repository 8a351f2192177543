"""Checkpoints in the layout of the LayAlign authors' code, to ours and back.

Their state file holds the whole model under names of its own. Only what was trained is taken from
it; encoder and language model, where they are in the file, serve to recognise the right backbones.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as serialise
from torch import Tensor, nn
from transformers import PreTrainedModel

from layalign.errors import CheckpointError, ConfigError
from layalign.model import checkpoint
from layalign.model.backbones import outline_backbones, outline_encoder, outline_language_model
from layalign.model.composite import LayAlignModel
from layalign.model.config import LayAlignConfig
from layalign.model.fingerprint import fingerprint_of
from layalign.model.states import SAFETENSORS, SUFFIXES, State, open_state

_PARTS = {
    "adapter.linear1": "mapping.mlp.linear1",
    "adapter.linear2": "mapping.mlp.linear2",
    "aligner.mix": "encoder_aligner.projector.fc1",
    "aligner.project": "encoder_aligner.projector.fc2",
    "aligner.refine": "encoder_aligner.projector.fc3",
}
_BOUNDARY = "mapping.end_boundary"
_ATTENTION = "model.layers.{}.self_attn"  # inside the language model
_GATE = "model_llm.model." + _ATTENTION + ".adaption_gate"
_GATE_PATTERN = re.compile(re.escape(_GATE).replace(r"\{\}", r"(\d+)"))
_MIX = "encoder_aligner.projector.fc1.weight"
_BACKBONES = {"encoder": "encoder_mt.", "language_model": "model_llm."}
_COPIES = "llm_embedding_layer."  # the language model's token embedding once more
# What the published code does otherwise than we do by default; see docs/concepts.md.
_BEHAVIOUR = {
    "mask_encoder_padding": False,
    "mask_position_ids": False,
    "frozen_backbones_eval": False,
}


def from_published(
    path: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    encoder: str,
    language_model: str,
    encoder_revision: str | None = None,
    language_model_revision: str | None = None,
    check_backbones: bool = True,
    **config_fields: Any,
) -> None:
    """Write a checkpoint of ours from a state file of the authors' code.

    The checkpoint behaves as the published code does, padding included. No weights of the backbones
    are read but those in the file, if it holds any: their fingerprint is recorded, so that
    ``from_pretrained`` refuses all others.

    Args:
        path: The state, in any of the forms that :func:`open_state` reads.
        folder: Where the checkpoint goes; must not hold one.
        encoder: Folder or hub id of the encoder that the state was trained with.
        language_model: Folder or hub id of the language model that it was trained with.
        encoder_revision: Hub revision of the encoder.
        language_model_revision: Hub revision of the language model.
        check_backbones: Compare the backbones in the file with the given ones.
        **config_fields: Fields of :class:`LayAlignConfig`. The state does not say which encoder
            states it mixes: ``encoder_layers`` is needed unless it is all but the last.

    Raises:
        CheckpointError: The file cannot be read, is not in the authors' layout or was trained with
            other backbones.
        BackboneError: There is no such backbone.
    """
    target = Path(folder)
    if any((target / name).exists() for name in ("config.json", checkpoint.WEIGHTS_NAME)):
        raise CheckpointError(f"{target} already holds a checkpoint; choose another folder")
    state = open_state(path)
    outlines = outline_backbones(
        encoder,
        language_model,
        encoder_revision=encoder_revision,
        language_model_revision=language_model_revision,
    )
    layers = _fused_layers(state, path, outlines[1])
    aligner = "mlp" if _name("aligner.refine.weight") in state else "linear"
    model = LayAlignModel.from_backbones(
        *outlines,
        encoder_revision=encoder_revision,
        language_model_revision=language_model_revision,
        **{**_BEHAVIOUR, "language_layers": layers, "aligner": aligner, **config_fields},
    )
    _check_form(model.config, "such a checkpoint")
    _check_trained(state, _to_layout(dict(_trained(model)), model), path)
    if check_backbones:
        roles = {"encoder": model.encoder, "language_model": model.language_model}
        model.config.fingerprints = {
            role: _fingerprint(state, role, backbone, layers) for role, backbone in roles.items()
        }
    checkpoint.save(model, target, state_dict=_from_layout(state, model))


def to_published(name_or_path: str | os.PathLike[str], path: str | os.PathLike[str]) -> None:
    """Write the trained parameters of a checkpoint under the names of the authors' code.

    The backbones are left out; their code has them already when it loads a state.

    Args:
        name_or_path: Folder or hub id of the checkpoint.
        path: The file to write; its ending chooses safetensors or torch's own format.

    Raises:
        CheckpointError: The checkpoint cannot be read, or their layout cannot express it.
        ConfigError: The file is there already, or its ending is not known.
    """
    target = Path(path)
    if target.suffix not in SUFFIXES:
        raise ConfigError(f"{target}: expected a name that ends in {', '.join(SUFFIXES)}")
    if target.exists():
        raise ConfigError(f"{target} is there already; choose another place")
    folder = checkpoint.find_folder(name_or_path)
    config = checkpoint.read_config(folder)
    _check_form(config, folder)
    model = LayAlignModel(
        config,
        outline_encoder(config.encoder_config),
        outline_language_model(config.text_config),
    )
    trained = checkpoint.read_weights(folder)
    checkpoint.load_trained(model, trained, folder)  # on the meta device this only compares
    _write(target, _to_layout(trained, model))


def _check_form(config: LayAlignConfig, what: object) -> None:
    """See that the authors' layout has a place for every part and no other part is needed."""
    if config.aligner == "none":
        raise CheckpointError(f"{what} has no aligner, and the authors' layout needs one")
    layout = {
        "adapter": "mlp",
        "adapter_width": 2 * config.d_enc,
        "aligner_width": None,
        "encoder_mean": False,
        "gate": "scalar",
        "lora": None,
    }
    for name, wanted in layout.items():
        if (found := getattr(config, name)) != wanted:
            raise CheckpointError(
                f"{what} has {name} {found}, and the authors' layout only {wanted}; it cannot be "
                "converted"
            )


def _write(target: Path, state: dict[str, Tensor]) -> None:
    temporary = target.with_name(f".{target.name}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.suffix == SAFETENSORS:
            temporary.write_bytes(serialise(state, metadata={"format": "pt"}))
        else:
            torch.save(state, temporary)
        os.replace(temporary, target)
    except OSError as error:
        raise ConfigError(f"{target}: cannot be written ({error}); choose another place") from error


def _name(ours: str) -> str:
    part, _, kind = ours.rpartition(".")
    return f"{_PARTS[part]}.{kind}"


def _trained(model: LayAlignModel) -> Iterator[tuple[str, Tensor]]:
    yield from ((name, model.get_parameter(name)) for name in model.trainable_names())


def _to_layout(trained: Mapping[str, Tensor], model: LayAlignModel) -> dict[str, Tensor]:
    """Our parameters under the authors' names and in their shapes."""
    rest = dict(trained)
    gates, boundary = rest.pop("gates"), rest.pop("adapter.boundary")
    state = {_name(ours): value for ours, value in rest.items()}
    state[_BOUNDARY] = boundary.reshape(1, 1, -1)
    for layer, gate in zip(model.config.language_layers, gates.split(1), strict=True):
        _check_family(model.language_model, layer)
        state[_GATE.format(layer)] = gate.clone()  # not a view: files hold no shared storage
    return state


def _from_layout(state: State, model: LayAlignModel) -> dict[str, Tensor]:
    """The inverse of :func:`_to_layout`."""
    trained = {
        ours: state[_name(ours)]()
        for ours in model.trainable_names()
        if ours.rpartition(".")[0] in _PARTS
    }
    trained["adapter.boundary"] = state[_BOUNDARY]().reshape(-1)
    gates = [state[_GATE.format(layer)]() for layer in model.config.language_layers]
    return {**trained, "gates": torch.cat(gates)}


def _fused_layers(state: State, path: object, language_model: PreTrainedModel) -> list[int]:
    """Language-model layers that have a gate in the file."""
    layers = sorted(int(found[1]) for name in state if (found := _GATE_PATTERN.fullmatch(name)))
    if not layers:
        raise CheckpointError(
            f"{path} holds no {_GATE.format('N')}; expected a state of the LayAlign authors' code"
        )
    count = language_model.config.get_text_config().num_hidden_layers
    if layers[-1] >= count:
        raise CheckpointError(
            f"{path} has a gate for layer {layers[-1]}, but {language_model.name_or_path} has only "
            f"{count} layers; pass the language model it was trained with"
        )
    for layer in layers:
        _check_family(language_model, layer)
    return layers


def _check_family(language_model: PreTrainedModel, layer: int) -> None:
    """See that the authors' names can say where a layer's gate is."""
    try:
        attention: nn.Module | None = language_model.get_submodule(_ATTENTION.format(layer))
    except AttributeError:
        attention = None
    if not all(hasattr(attention, f"{side}_proj") for side in "qkvo"):
        raise CheckpointError(
            f"language model family {language_model.config.model_type!r} has no place in the "
            f"authors' layout: no q_proj, k_proj, v_proj and o_proj in {_ATTENTION.format(layer)}; "
            "expected one that is built like Llama"
        )


def _check_trained(state: State, expected: Mapping[str, Tensor], path: object) -> None:
    """Compare the trained part of a state with names and shapes, strictly."""
    kept = (*_BACKBONES.values(), _COPIES)
    found = {name for name in state if _GATE_PATTERN.fullmatch(name) or not name.startswith(kept)}
    missing, unexpected = sorted(set(expected) - found), sorted(found - set(expected))
    if missing or unexpected:
        raise CheckpointError(
            f"{path} is not what the authors' code writes for these backbones: missing "
            f"{missing or 'nothing'}, unexpected {unexpected or 'nothing'}"
        )
    for name in sorted(expected):
        shape, wanted = tuple(state[name]().shape), tuple(expected[name].shape)
        if shape != wanted:
            hint = "; name the encoder states it mixes with encoder_layers" if name == _MIX else ""
            raise CheckpointError(
                f"{path}: {name} has shape {shape}, expected {wanted}; pass the backbones it was "
                f"trained with{hint}"
            )


def _fingerprint(state: State, role: str, backbone: PreTrainedModel, layers: list[int]) -> str:
    """Fingerprint of a backbone as it stands in a state; empty when it does not.

    Raises:
        CheckpointError: The state holds another backbone.
    """
    prefix = _BACKBONES[role]
    if not any(name.startswith(prefix) and not _GATE_PATTERN.fullmatch(name) for name in state):
        return ""
    rename = _encoder_names if role == "encoder" else _language_model_names
    names = sorted(rename(backbone, layers).items())
    return fingerprint_of((name, _read(state, theirs, backbone, name)) for name, theirs in names)


def _read(state: State, theirs: str, backbone: PreTrainedModel, name: str) -> Tensor:
    """A backbone's parameter from a state, if it is there and fits."""
    shape = tuple(backbone.get_parameter(name).shape)
    found = state[theirs]() if theirs in state else None
    if found is None or tuple(found.shape) != shape:
        what = "nothing" if found is None else f"shape {tuple(found.shape)}"
        raise CheckpointError(
            f"the state was trained with another model than {backbone.name_or_path!r}: {what} at "
            f"{theirs}, expected shape {shape}; pass the right one, or check_backbones=False to "
            "go on"
        )
    return found


def _encoder_names(encoder: PreTrainedModel, _: list[int]) -> dict[str, str]:
    names = [name for name, _ in encoder.named_parameters()]
    if "shared.weight" not in names:
        return {name: f"encoder_mt.{name}" for name in names}
    theirs = {name: name.removeprefix("encoder.") for name in names}  # T5: the stack alone
    theirs["shared.weight"] = "embed_tokens.weight"
    return {name: f"encoder_mt.{other}" for name, other in theirs.items()}


def _language_model_names(language_model: PreTrainedModel, layers: list[int]) -> dict[str, str]:
    wrapped = {_ATTENTION.format(layer) + "." for layer in layers}
    names = {}
    for name, _ in language_model.named_parameters():
        head = next((prefix for prefix in wrapped if name.startswith(prefix)), "")
        inner = f"{head}model.{name.removeprefix(head)}" if head else name
        names[name] = f"model_llm.model.{inner}"
    return names
