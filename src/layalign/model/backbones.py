"""What is known of model families: loading the two backbones and reading their parts."""

from __future__ import annotations

import inspect
import warnings
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import nn
from transformers import (
    MODEL_FOR_TEXT_ENCODING_MAPPING,
    MODEL_MAPPING,
    AutoModelForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.models.m2m_100.modeling_m2m_100 import M2M100Encoder
from transformers.models.mbart.modeling_mbart import MBartEncoder

from layalign.embedded import resolve
from layalign.errors import BackboneError
from layalign.model.fingerprint import fingerprint
from layalign.model.lora import add_stored_lora, lora_base, lora_layers
from layalign.model.pretrained import load_config, load_model
from layalign.model.projections import PROJECTIONS, projection_names

# Encoder-decoder families whose encoder is a class of its own but not in the text-encoding map.
# Second entry: how the names in a full checkpoint become the names in the encoder alone.
_ENCODER_HALVES: dict[str, tuple[type[PreTrainedModel], dict[str, str]]] = {
    "m2m_100": (
        M2M100Encoder,
        {r"^model\.encoder\.": "", r"^model\.shared\.": "embed_tokens."},
    ),
    "mbart": (MBartEncoder, {r"^model\.encoder\.": "", r"^model\.shared\.": "embed_tokens."}),
}
# Tables with a learned vector for every position.
_POSITIONS = ("position_embeddings", "embed_positions")
_SOFTMAX_LAYER_TYPES = ("full_attention", "sliding_attention", "chunked_attention")


class Backbones(NamedTuple):
    """Encoder and language model, loaded."""

    encoder: PreTrainedModel
    language_model: PreTrainedModel

    fingerprints: dict[str, str]
    """The :func:`fingerprint` of either, keyed ``encoder`` and ``language_model``."""


def load_backbones(
    encoder: str | Path | PreTrainedModel,
    language_model: str | Path | PreTrainedModel,
    *,
    encoder_revision: str | None = None,
    language_model_revision: str | None = None,
    dtype: torch.dtype | str | None = None,
    attn_implementation: str | None = None,
    device_map: Any = None,
) -> Backbones:
    """Load encoder and language model, or take what is already loaded.

    Args:
        encoder: Folder, hub id, name of an embedded model or loaded encoder.
        language_model: The same of a causal language model, or of a LoRA on one.
        encoder_revision: Hub revision of the encoder.
        language_model_revision: Hub revision of the language model.
        dtype: Arithmetic type of what is loaded here.
        attn_implementation: For the language model, also for a loaded one.
        device_map: As in transformers, for what is loaded here.

    Raises:
        BackboneError: A backbone cannot be loaded or its family is not supported.
    """
    options = {"dtype": dtype, "device_map": device_map}
    options = {key: value for key, value in options.items() if value is not None}
    if isinstance(encoder, (str, Path)):
        encoder = load_encoder(str(encoder), revision=encoder_revision, **options)
    if isinstance(language_model, (str, Path)):
        if attn_implementation is not None:
            options["attn_implementation"] = attn_implementation
        language_model, found = _load_language_model(
            str(language_model), language_model_revision, **options
        )
    else:
        if attn_implementation is not None:
            language_model.set_attn_implementation(attn_implementation)
        if lora_layers(language_model):
            raise BackboneError(
                "the language model carries a LoRA, perhaps of another LayAlignModel; load it once "
                "more, or merge the LoRA into it"
            )
        found = fingerprint(language_model)
    fingerprints = {"encoder": fingerprint(encoder), "language_model": found}
    return Backbones(encoder, language_model, fingerprints)


def load_encoder(
    name_or_path: str, *, revision: str | None = None, **kwargs: Any
) -> PreTrainedModel:
    """Load a multilingual encoder, and of an encoder-decoder only the encoder half.

    Args:
        name_or_path: Local folder, hub id or name of an embedded model.
        revision: Hub revision.
        **kwargs: Passed to transformers' ``from_pretrained`` (``dtype``, ``device_map`` …).

    Raises:
        BackboneError: There is no such model, or its family has no encoder we can use.
    """
    config = load_config(name_or_path, "encoder", revision)
    half = encoder_half(config)
    if half.key_mapping:
        kwargs["key_mapping"] = half.key_mapping
    kwargs |= half.options
    return load_model(
        half.model_class, name_or_path, "encoder", revision=revision, config=config, **kwargs
    )


def load_language_model(
    name_or_path: str, *, revision: str | None = None, **kwargs: Any
) -> PreTrainedModel:
    """Load a causal language model; a LoRA is merged into the model that it was trained on.

    Args and errors are those of :func:`load_encoder`.
    """
    return _load_language_model(name_or_path, revision, **kwargs)[0]


def _load_language_model(
    name_or_path: str, revision: str | None, **kwargs: Any
) -> tuple[PreTrainedModel, str]:
    """Return the model and its fingerprint."""
    base = lora_base(resolve(name_or_path), revision)
    if base is None:
        config = load_config(name_or_path, "language model", revision)
        model = load_model(
            AutoModelForCausalLM,
            name_or_path,
            "language model",
            revision=revision,
            config=config,
            **kwargs,
        )
        return model, fingerprint(model)
    model, _ = _load_language_model(base.name_or_path, base.revision, **kwargs)
    adapted = add_stored_lora(model, name_or_path, revision)
    # Of what is stored: how the sums of a merge are rounded depends on the machine.
    found = fingerprint(adapted)
    model = adapted.merge_and_unload()
    model.name_or_path = model.config.name_or_path = name_or_path
    return model, found


def outline_backbones(
    encoder: str | Path,
    language_model: str | Path,
    *,
    encoder_revision: str | None = None,
    language_model_revision: str | None = None,
) -> tuple[PreTrainedModel, PreTrainedModel]:
    """Build encoder and language model without weights, from their configurations.

    Args and errors are those of :func:`load_backbones`.
    """
    base = lora_base(resolve(str(language_model)), language_model_revision)
    name, revision = base or (str(language_model), language_model_revision)
    outlines = (
        outline_encoder(load_config(str(encoder), "encoder", encoder_revision)),
        outline_language_model(load_config(name, "language model", revision)),
    )
    for outline, given in zip(outlines, (encoder, language_model), strict=True):
        outline.name_or_path = outline.config.name_or_path = str(given)
    return outlines


def outline_encoder(config: PreTrainedConfig) -> PreTrainedModel:
    """Build an encoder on the meta device: all sizes, no weights and no :func:`fingerprint`.

    Raises:
        BackboneError: Its family has no encoder we can use.
    """
    half = encoder_half(config)
    with torch.device("meta"):
        return half.model_class(config, **half.options)


def outline_language_model(config: PreTrainedConfig) -> PreTrainedModel:
    """Build a language model on the meta device: all sizes, no weights and no :func:`fingerprint`.

    Raises:
        BackboneError: The configuration is not that of a causal language model.
    """
    stored = config.dtype
    try:
        with torch.device("meta"):
            # There, mixtures of experts multiply in bfloat16 only.
            model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    except ValueError as error:
        raise BackboneError(
            f"language model family {config.model_type!r} is not supported: transformers has no "
            "causal language model of it"
        ) from error
    model.config.dtype = stored
    return model


class EncoderHalf(NamedTuple):
    """How to hold only the encoder of a family."""

    model_class: type[PreTrainedModel]
    """The class of the encoder alone."""

    key_mapping: dict[str, str]
    """Names in a full checkpoint (patterns) to names in this class."""

    options: dict[str, Any]
    """Arguments of the class beside the configuration."""


def encoder_half(config: PreTrainedConfig) -> EncoderHalf:
    """Find the class that holds only the encoder.

    Raises:
        BackboneError: The family is unknown, or an encoder-decoder without a separate encoder.
    """
    key_mapping: dict[str, str] = {}
    model_class: Any
    if config.model_type in _ENCODER_HALVES:
        model_class, key_mapping = _ENCODER_HALVES[config.model_type]
    elif type(config) in MODEL_FOR_TEXT_ENCODING_MAPPING:
        model_class = MODEL_FOR_TEXT_ENCODING_MAPPING[type(config)]
    elif type(config) in MODEL_MAPPING and not config.is_encoder_decoder:
        model_class = MODEL_MAPPING[type(config)]
    else:
        raise BackboneError(
            f"encoder family {config.model_type!r} is not supported: transformers has no class "
            "that holds only its encoder; choose e.g. an mT5, NLLB, mBART, XLM-R, BERT or "
            "decoder-only model, or see docs/adding_a_backbone.md"
        )
    has_pooler = "add_pooling_layer" in inspect.signature(model_class.__init__).parameters
    return EncoderHalf(model_class, key_mapping, {"add_pooling_layer": False} if has_pooler else {})


def encoder_positions(encoder: PreTrainedModel) -> int | None:
    """How many tokens an encoder's table of positions is for; None if it has none."""
    for name, module in encoder.named_modules():
        if isinstance(module, nn.Embedding) and name.endswith(_POSITIONS):
            before = -1 if module.padding_idx is None else module.padding_idx
            return int(module.num_embeddings - getattr(module, "offset", before + 1))
    return None


def token_embedding(language_model: PreTrainedModel) -> nn.Embedding:
    """The token embedding of a language model."""
    return cast(nn.Embedding, language_model.get_input_embeddings())


def let_checkpoint(language_model: PreTrainedModel) -> None:
    """Let a model in eval mode do gradient checkpointing.

    That looks at the flag of the layer itself; its dropout modules have flags of their own and stay
    off.
    """
    for module in language_model.modules():
        if isinstance(module, GradientCheckpointingLayer):
            module.training = True


def attention_layers(language_model: PreTrainedModel) -> dict[int, nn.Module]:
    """Softmax-attention modules whose key and value projections can be reused, by layer index.

    Raises:
        BackboneError: There is none; the message lists what such a module needs.
    """
    types = getattr(language_model.config.get_text_config(), "layer_types", None)
    found = {
        int(module.layer_idx): module
        for module in language_model.get_decoder().modules()
        if getattr(module, "layer_idx", None) is not None
        and projection_names(module)
        and (types is None or types[module.layer_idx] in _SOFTMAX_LAYER_TYPES)
    }
    if not found:
        needed = ", or ".join(" and ".join(names) for names in PROJECTIONS)
        raise BackboneError(
            f"language model family {language_model.config.model_type!r} is not supported: no "
            f"layer has softmax attention with {needed} and a layer_idx; see "
            "docs/adding_a_backbone.md"
        )
    return found


def default_language_layers(language_model: PreTrainedModel) -> list[int]:
    """All layers that can be fused; warns when the model has others too."""
    layers = sorted(attention_layers(language_model))
    skipped = set(range(language_model.config.get_text_config().num_hidden_layers)) - set(layers)
    if skipped:
        warnings.warn(
            f"layers {sorted(skipped)} of {language_model.config.model_type} have no softmax "
            "attention and get no fusion",
            stacklevel=2,
        )
    return layers
