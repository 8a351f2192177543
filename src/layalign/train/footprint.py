"""How much memory a stage takes on one device, estimated from sizes alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from layalign.model import LayAlignModel
from layalign.model.lora import lora_layers
from layalign.model.parts import LORA, count_by_part, part_of
from layalign.model.projections import is_cheaper_merged
from layalign.train.stages import StageConfig

_FLOAT = 4  # bytes of float32, in which everything is trained
_MOMENTS = 2  # of AdamW


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """How long the longest example of a stage is, tokens."""

    encoder: int
    """Of the encoder's input; 0 without an encoder."""

    prompt: int
    """Of the language model's text before the target."""

    target: int
    """Of the target and its EOS."""

    @property
    def sequence(self) -> int:
        """Positions of the language model: BOS, soft tokens and boundary included."""
        return 1 + (self.encoder and self.encoder + 1) + self.prompt + self.target


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes on one device. In a data-parallel run every device holds all of it."""

    weights: int
    """Both backbones in the type they are loaded in, trained parameters in float32."""

    gradients: int
    """Of the trained parameters, float32."""

    optimizer: int
    """AdamW's two moments, float32."""

    activations: int
    """What one forward pass keeps for the backward pass."""

    @property
    def total(self) -> int:
        """Sum of all."""
        return self.weights + self.gradients + self.optimizer + self.activations

    def to_dict(self) -> dict[str, int]:
        """Every part, and ``total``."""
        return {**asdict(self), "total": self.total}


def stage_memory(
    model: LayAlignModel, config: StageConfig, lengths: Lengths, *, dtype: str
) -> Memory:
    """Estimate a stage of a composite model.

    With ``b`` bytes in the arithmetic type, ``B`` examples per forward pass, every one as long as
    the longest, the activations are::

        B * (seq_len * layers + 4 * seq_len * d_llm + enc_len * encoder + logits) + products
        layers  = n_llm_layers * (8 * d_llm + b * (4 * d_query + d_query + 3 * d_ff))
        encoder = b * (d_enc * (1 + n_enc_used + 2 * n_fused) + adapter_width
                       + n_fused * d_kv with a scalar gate
                       + 2 * n_fused * (d_kv + aligner_width + d_llm with the aligner mlp))
        logits  = target_len * vocabulary * 2 * b
        products = b * 2 * n_fused * d_kv * d_in

    ``d_query`` and ``d_kv`` are heads times head size. In a layer, the two norms keep their input
    in float32; attention its queries, keys, values and output and the fusion its own; the
    feed-forward part three tensors. Logits have a gradient of their size while everything else is
    still there. The products are those of the aligner's last layer, which reads ``d_in``, with the
    projections, where they are made (never with a LoRA). Frozen weights need no inputs kept. With
    gradient checkpointing a layer keeps ``b * d_llm`` a position, and one layer at a time all of
    it. If ``b`` is 2, the trained parameters are kept once more in that type.

    The 1 is the adapter, the others are 0 where there is no such layer; a mean of encoder states
    counts as one. Gates that depend on the hidden state keep it, ``b * d_llm`` a layer. A LoRA
    keeps, in float32, what each of its layers reads, at most ``4 * (d_in + rank)``, and DoRA what
    it scales, ``8 * d_out``.

    Not in it: the kernels' scratch space, attention scores (only ``eager`` attention keeps them)
    and what the device's libraries take.

    Args:
        model: Weights are not needed.
        config: The stage.
        lengths: Of its longest example.
        dtype: Type that the backbones are loaded in, as in a recipe.
    """
    text, own = model.config.text_config, model.config
    size = arithmetic_size(config, text, dtype)
    n_fused = len(own.language_layers)
    aligned = (own.aligner_width or 0) + (own.d_llm if own.aligner == "mlp" else 0)
    d_kv = heads_width(text, "num_key_value_heads")
    encoder = size * (
        own.d_enc * ((own.adapter != "none") + own.n_mixed + 2 * n_fused)
        + (own.adapter_width or 0)
        + n_fused * d_kv * (own.gate == "scalar")
        + 2 * n_fused * (d_kv + aligned)
    )
    trained = sum(model.get_parameter(name).numel() for name in model.trainable_names())
    extra = heads_width(text) * size if n_fused else 0
    extra += own.d_llm * size if own.gate == "hidden" else 0
    if own.lora is not None:
        extra += _lora_bytes(model.language_model, own.lora) // own.n_llm_layers
        read = own.d_llm + own.lora["dora"] * 2 * d_kv
        encoder += 2 * n_fused * _FLOAT * read
    given = lengths if own.adapter != "none" else replace(lengths, encoder=0)
    kept = _language_model_bytes(text, config, given, size, extra=extra)
    activations = config.examples_per_forward * (kept + lengths.encoder * encoder)
    tokens = config.examples_per_forward * lengths.encoder
    last = model.aligner.last if model.aligner is not None and own.lora is None else None
    if last is not None and is_cheaper_merged(last, d_kv, tokens):
        activations += size * 2 * n_fused * d_kv * last.in_features
    counts = count_by_part(model.named_parameters())
    stored = sum(
        counts[name] * _stored_size(getattr(model, name), dtype)
        for name in ("encoder", "language_model")
    )
    return Memory(
        weights=_FLOAT * trained + stored,
        gradients=_FLOAT * trained,
        optimizer=_MOMENTS * _FLOAT * trained,
        activations=activations + _copies(trained, size),
    )


def finetune_memory(
    language_model: PreTrainedModel, config: StageConfig, lengths: Lengths, *, dtype: str
) -> Memory:
    """Estimate the fine-tuning of the language model itself.

    All of it, or its LoRA, is trained in float32, so norms and linear layers keep their outputs and
    inputs too: ``8 * d_llm + b * d_ff``, and if ``b`` is 2 another ``4 * d_llm``, more in each
    layer than :func:`stage_memory` says. A LoRA in float32 on a model in bfloat16 keeps
    ``4 * (d_query + d_ff)`` more, its own copies of what the layers read. There is no fusion.

    Args and what is left out are those of :func:`stage_memory`.
    """
    text = language_model.config.get_text_config()
    size = arithmetic_size(config, text, dtype)
    trained = finetuned_size(language_model, config)
    weights = 0 if config.lora_rank is None else _count(language_model)
    inputs = 2 * _FLOAT * text.hidden_size + size * text.intermediate_size
    inputs += 2 * _copies(text.hidden_size, size)
    if config.lora_rank is not None and size < _FLOAT:
        inputs += _FLOAT * (heads_width(text) + text.intermediate_size)
    kept = _language_model_bytes(text, config, lengths, size, extra=inputs)
    return Memory(
        weights=_FLOAT * trained + weights * _stored_size(language_model, dtype),
        gradients=_FLOAT * trained,
        optimizer=_MOMENTS * _FLOAT * trained,
        activations=config.examples_per_forward * kept + _copies(trained, size),
    )


def _lora_bytes(language_model: nn.Module, settings: Mapping[str, Any]) -> int:
    """Bytes a position in all layers of an inserted LoRA: what each reads, and what DoRA scales."""
    return sum(
        _FLOAT * (layer.in_features + settings["rank"] + settings["dora"] * 2 * layer.out_features)
        for layer in lora_layers(language_model)
    )


def finetuned_size(language_model: PreTrainedModel, config: StageConfig) -> int:
    """Parameters that fine-tuning trains: all of the model, or of the LoRA on its linear layers."""
    if config.lora_rank is None:
        return _count(language_model)
    rank, head = config.lora_rank, language_model.get_output_embeddings()
    layers = (
        module
        for name, module in language_model.named_modules()
        if isinstance(module, nn.Linear) and module is not head and part_of(f"{name}.") != LORA
    )
    return sum(rank * (layer.in_features + layer.out_features) for layer in layers)


def _language_model_bytes(
    text: Any, config: StageConfig, lengths: Lengths, size: int, *, extra: int
) -> int:
    """Bytes that one example keeps in the language model, ``extra`` more per layer and position."""
    width, layers = text.hidden_size, text.num_hidden_layers
    layer = 2 * _FLOAT * width + size * (4 * heads_width(text) + 3 * text.intermediate_size) + extra
    position = layers * layer
    if config.gradient_checkpointing:
        position = layers * size * width + layer
    logits = lengths.target * text.vocab_size * 2 * size
    return int(lengths.sequence * (position + _FLOAT * width) + logits)


def heads_width(text: Any, name: str = "num_attention_heads") -> int:
    """Width of all query heads, or of all key/value heads."""
    heads = text.num_attention_heads
    d_head = getattr(text, "head_dim", None) or text.hidden_size // heads
    return int(d_head * (getattr(text, name, None) or heads))


def _copies(count: int, size: int) -> int:
    """Bytes of numbers that are kept once more in the arithmetic type if it is another."""
    return count * size if size < _FLOAT else 0


def arithmetic_size(config: StageConfig, text: Any, dtype: str) -> int:
    """Bytes of a number that a stage calculates with.

    Args:
        config: The stage.
        text: Configuration of the language model.
        dtype: Type that the backbones are loaded in, as in a recipe.
    """
    name = dtype if config.dtype == "auto" else config.dtype
    return _size(text if name == "auto" else name)


def _stored_size(model: PreTrainedModel, dtype: str) -> int:
    return _size(model.config if dtype == "auto" else dtype)


def _size(source: Any) -> int:
    """Bytes of a number: of a type by name, or of what a configuration says it is stored in."""
    dtype = source if isinstance(source, str) else source.dtype or torch.float32
    return int((getattr(torch, dtype) if isinstance(dtype, str) else dtype).itemsize)


def _count(language_model: nn.Module) -> int:
    """Parameters of its own, without those of a LoRA that LayAlign trains in it."""
    named = language_model.named_parameters()
    return sum(parameter.numel() for name, parameter in named if part_of(name) != LORA)
