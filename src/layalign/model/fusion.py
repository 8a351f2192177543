"""Adaptive fusion-enhanced attention, the only file that touches the LLM's attention.

Source: LayAlign (Ruan et al., Findings of NAACL 2025), section 3.2. Every fused LLM layer computes
``self_attention + gate * cross_attention``; the cross attention reuses the layer's own rotated
queries and its frozen key, value and output projections. It is plugged in through transformers'
public attention registry: the registered function receives the queries after the rotary embedding
and returns before the output projection, which is linear, so adding there is adding after it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

from layalign.errors import BackboneError
from layalign.model.backbones import token_embedding

# transformers takes every name with "flash" in it for one of its own kernels, hence "fa2".
FUSED_ATTENTION = {
    "eager": "layalign_eager",
    "sdpa": "layalign_sdpa",
    "flex_attention": "layalign_flex_attention",
    "flash_attention_2": "layalign_fa2",
    "flash_attention_3": "layalign_fa3",
}

AttentionOutput = tuple[Tensor, "Tensor | None"]

FusionWatch = Callable[[int, Tensor, Tensor], None]
"""Told the index of a fused layer and the two terms that it adds, self attention and gated cross
attention, both before the output projection; handed to the model as ``fusion_watch``. They have the
batch and the position on their first two axes; what follows is one vector."""


def cross_attention(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    mask: Tensor | None,
    *,
    scaling: float | None = None,
    softcap: float | None = None,
    fused: bool = True,
) -> Tensor:
    """Let the LLM's queries attend to the aligned encoder states of their row.

    Query heads that share a key/value head are laid out as further positions of that head, so
    grouped heads are never repeated in memory; there is no causal order among encoder positions.

    Args:
        query: ``(batch, n_heads, seq_len, d_head)``, after the rotary embedding.
        keys: ``(batch, n_kv_heads, enc_len, d_head)``, never rotated.
        values: ``(batch, n_kv_heads, enc_len, d_value)``.
        mask: ``(batch, enc_len)``, True where there is a token; None to attend everywhere.
        scaling: Factor on the scores; default ``d_head ** -0.5``.
        softcap: Soft cap on the scores, for models whose self attention has one (Gemma 2).
        fused: Use PyTorch's attention kernel where it can do this. In bfloat16 on a CPU it is
            several times slower than plain products at the lengths of a question.

    Returns:
        ``(batch, seq_len, n_heads, d_value)``.
    """
    batch, n_heads, seq_len, _ = query.shape
    n_kv_heads = keys.shape[1]
    grouped = query.reshape(batch, n_kv_heads, -1, query.shape[-1])
    attn_mask = None if mask is None else mask[:, None, None, :]
    if fused and softcap is None:
        context = F.scaled_dot_product_attention(
            grouped, keys, values, attn_mask=attn_mask, scale=scaling
        )
    else:
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        scores = (grouped @ keys.transpose(-1, -2)).float() * scale
        if softcap is not None:
            scores = softcap * torch.tanh(scores / softcap)
        if attn_mask is not None:
            scores = scores.masked_fill(~attn_mask, torch.finfo(scores.dtype).min)
        context = scores.softmax(-1).to(values.dtype) @ values
    return context.reshape(batch, n_heads, seq_len, -1).transpose(1, 2)


def _eager(module: nn.Module, *args: Any, **kwargs: Any) -> AttentionOutput:
    """Call the eager attention of the model file that ``module`` comes from."""
    own = getattr(sys.modules[type(module).__module__], "eager_attention_forward", None)
    if own is None:
        raise BackboneError(
            f"{type(module).__name__} has no eager attention function; load the language model "
            'with attn_implementation="sdpa"'
        )
    output: AttentionOutput = own(module, *args, **kwargs)
    return output


def _flash(implementation: str) -> Callable[..., AttentionOutput]:
    def attention(
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        *,
        scaling: float | None = None,
        **kwargs: Any,
    ) -> AttentionOutput:
        from transformers.modeling_flash_attention_utils import _flash_attention_forward

        output = _flash_attention_forward(
            query.transpose(1, 2),
            key.transpose(1, 2),
            value.transpose(1, 2),
            attention_mask,
            query_length=query.shape[2],
            is_causal=getattr(module, "is_causal", True),
            softmax_scale=scaling,
            attn_implementation=implementation,
            **kwargs,
        )
        return output, None

    return attention


def _with_fusion(
    base: Callable[..., AttentionOutput], *, fused: bool
) -> Callable[..., AttentionOutput]:
    def fusion_attention(
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        *,
        fusion_keys: tuple[Tensor, ...] | None = None,
        fusion_values: tuple[Tensor, ...] | None = None,
        fusion_mask: Tensor | None = None,
        fusion_gates: Tensor | None = None,
        fusion_layers: tuple[int, ...] = (),
        fusion_seen: set[int] | None = None,
        fusion_watch: FusionWatch | None = None,
        **kwargs: Any,
    ) -> AttentionOutput:
        layer = cast(int, module.layer_idx)
        if fusion_seen is not None:
            fusion_seen.add(layer)
        output, weights = base(module, query, key, value, attention_mask, **kwargs)
        if fusion_keys is None or layer not in fusion_layers:
            return output, weights
        assert fusion_values is not None
        assert fusion_gates is not None
        slot = fusion_layers.index(layer)
        context = cross_attention(
            query,
            fusion_keys[slot],
            fusion_values[slot],
            fusion_mask,
            scaling=kwargs.get("scaling"),
            softcap=kwargs.get("softcap"),
            fused=fused,
        )
        gate = fusion_gates[:, slot].to(context.dtype)[:, None, None, None]
        added = gate * context.reshape(output.shape)
        if fusion_watch is not None:
            fusion_watch(layer, output, added)
        return output + added, weights

    return fusion_attention


def _register() -> None:
    registered = AttentionInterface()
    masks = AttentionMaskInterface()
    for base, name in FUSED_ATTENTION.items():
        if base == "eager":
            function: Callable[..., AttentionOutput] = _eager
        elif base.startswith("flash"):
            function = _flash(base)
        else:
            function = registered[base]
        AttentionInterface.register(name, _with_fusion(function, fused=base != "eager"))
        # Without a mask function of the same name transformers builds no mask at all, and
        # causality is lost without a word.
        AttentionMaskInterface.register(name, masks[base])


_register()


def use_fused_attention(language_model: PreTrainedModel) -> None:
    """Switch a language model to the fused form of its attention; alone it computes as before.

    Raises:
        BackboneError: The family does not use transformers' attention registry, or its
            implementation has no fused form.
    """
    name = fused_attention_name(language_model.config._attn_implementation)
    language_model.set_attn_implementation(name)
    if language_model.config._attn_implementation != name:
        raise BackboneError(
            f"language model family {language_model.config.model_type!r} is not supported: its "
            "attention does not go through transformers' attention registry"
        )


def reach_layers(language_model: PreTrainedModel, attention: Mapping[int, nn.Module]) -> None:
    """See that every fused layer receives the fusion keywords, or help it to.

    Args:
        language_model: With fused attention.
        attention: The attention modules of the fused layers, by layer index.

    Raises:
        BackboneError: Some layers cannot be reached.
    """
    missing = set(attention) - reached_layers(language_model)
    for layer in language_model.get_decoder().layers if missing else ():
        for module in layer.modules():
            if module in (attention[i] for i in missing):
                hand_through(layer, module)
    if missing and set(attention) - reached_layers(language_model):
        raise BackboneError(
            f"language model family {language_model.config.model_type!r} is not supported: the "
            f"attention of layers {sorted(missing)} does not receive keyword arguments"
        )


def reached_layers(language_model: PreTrainedModel) -> set[int]:
    """Layers whose attention receives the fusion keywords, found by running one token."""
    seen: set[int] = set()
    device = token_embedding(language_model).weight.device
    # Without weights no mask can be worked out, and a finished one is taken as it is.
    finished = {"attention_mask": torch.ones(1, 1, 1, 1, dtype=torch.bool, device=device)}
    with torch.no_grad():
        language_model(
            input_ids=torch.zeros(1, 1, dtype=torch.long, device=device),
            use_cache=False,
            fusion_seen=seen,
            **(finished if device.type == "meta" else {}),
        )
    return seen


def hand_through(layer: nn.Module, attention: nn.Module) -> None:
    """Pass the fusion keywords on in a decoder layer that does not do so itself (StableLM).

    They are held only while the layer runs, so recomputation in gradient checkpointing sees its
    own.
    """
    held: ContextVar[dict[str, Any]] = ContextVar("held", default={})  # noqa: B039

    def take(_: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        held.set({key: value for key, value in kwargs.items() if key.startswith("fusion_")})

    def give(_: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return args, {**kwargs, **held.get()}

    def drop(*_: Any) -> None:
        held.set({})

    layer.register_forward_pre_hook(take, with_kwargs=True)
    attention.register_forward_pre_hook(give, with_kwargs=True)
    layer.register_forward_hook(drop, always_call=True)


def fused_attention_name(base: str) -> str:
    """Name of the registered attention that adds the fusion to ``base``.

    Raises:
        BackboneError: There is no fused form of ``base``.
    """
    if base in FUSED_ATTENTION.values():
        return base
    if base not in FUSED_ATTENTION:
        raise BackboneError(
            f"attention implementation {base!r} cannot carry the fusion; choose one of "
            f"{', '.join(FUSED_ATTENTION)} with attn_implementation"
        )
    return FUSED_ATTENTION[base]
