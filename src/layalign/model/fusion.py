"""Adaptive fusion-enhanced attention: what a fused layer of the LLM computes.

Source: LayAlign (Ruan et al., Findings of NAACL 2025), section 3.2. Every fused LLM layer computes
``self_attention + gate * cross_attention``; the cross attention reuses the layer's own rotated
queries and its frozen key, value and output projections. It is plugged in through transformers'
public attention registry: the registered function receives the queries after the rotary embedding
and returns before the output projection, which is linear, so adding there is adding after it.
:mod:`layalign.model.fused_layers` is the other half: it makes a language model's layers use it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface, AttentionMaskInterface

from layalign.errors import BackboneError
from layalign.model.projections import project_within

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

    Grouped heads are never repeated in memory. PyTorch's kernel for CPUs reads them as they are;
    elsewhere query heads that share a key/value head are laid out as further positions of it. There
    is no causal order among encoder positions.

    Args:
        query: ``(batch, n_heads, seq_len, d_head)``, after the rotary embedding.
        keys: ``(batch, n_kv_heads, enc_len, d_head)``, never rotated.
        values: ``(batch, n_kv_heads, enc_len, d_value)``.
        mask: Added to the scores, ``(batch, 1, 1, enc_len)``; None to attend everywhere.
        scaling: Factor on the scores; default ``d_head ** -0.5``.
        softcap: Soft cap on the scores, for models whose self attention has one (Gemma 2).
        fused: Use PyTorch's attention kernel where it can do this. In bfloat16 on a CPU it is
            several times slower than plain products at the lengths of a question.

    Returns:
        ``(batch, seq_len, n_heads, d_value)``.
    """
    batch, n_heads, seq_len, d_head = query.shape
    n_kv_heads = keys.shape[1]
    kernel = fused and softcap is None
    grouped = kernel and query.is_cpu and n_kv_heads < n_heads
    if not grouped:
        query = query.reshape(batch, n_kv_heads, -1, d_head)
    if kernel:
        context = F.scaled_dot_product_attention(
            query, keys, values, attn_mask=mask, scale=scaling, enable_gqa=grouped
        )
    else:
        scale = d_head**-0.5 if scaling is None else scaling
        scores = (query @ keys.transpose(-1, -2)).float() * scale
        if softcap is not None:
            scores = softcap * torch.tanh(scores / softcap)
        if mask is not None:
            scores = scores + mask
        context = scores.softmax(-1).to(values.dtype) @ values
    return context.reshape(batch, n_heads, seq_len, -1).transpose(1, 2)


def added_to_scores(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Turn a mask into what :func:`cross_attention` takes: nothing at tokens, else a huge loss.

    Args:
        mask: ``(batch, enc_len)``, True where there is a token.
        dtype: Of the queries.

    Returns:
        ``(batch, 1, 1, enc_len)``.
    """
    lowest = torch.finfo(dtype).min
    return torch.zeros_like(mask, dtype=dtype).masked_fill_(~mask, lowest)[:, None, None, :]


def fusion_keywords(
    layers: tuple[int, ...],
    keys: Tensor,
    values: Tensor,
    mask: Tensor | None,
    gates: Tensor | None = None,
    gate_map: Tensor | None = None,
) -> dict[str, Any]:
    """What a language model is called with, so that its fused attention finds its share.

    Args:
        layers: Indices of the fused layers.
        keys: ``(batch, n_fused, n_kv_heads, enc_len, d_head)``, or what the layers are to project
            themselves, ``(batch, n_fused, enc_len, d_llm)``.
        values: The same of the values.
        mask: ``(batch, enc_len)``, True where there is a token; None to attend everywhere.
        gates: ``(n_fused,)`` or ``(n_fused, n_heads)``; None if the values are multiplied already.
        gate_map: ``(n_fused, d_llm)``, for gates that depend on the hidden state.
    """
    return {
        "fusion_layers": layers,
        "fusion_keys": keys.unbind(1),
        "fusion_values": values.unbind(1),
        "fusion_mask": None if mask is None else added_to_scores(mask, keys.dtype),
        "fusion_gates": None if gates is None else gates.expand(len(keys), *gates.shape),
        "fusion_gate_map": None if gate_map is None else gate_map.unbind(0),
    }


def gate_values(gates: Tensor, gate_map: Tensor | None, hidden: Tensor | None) -> Tensor:
    """One layer's gates, in a shape to multiply its cross attention with.

    Args:
        gates: ``(batch,)``, or ``(batch, n_heads)`` with a gate for each head.
        gate_map: ``(d_llm,)``; None for gates that depend on nothing.
        hidden: What the layer's attention reads, ``(batch, seq_len, d_llm)``; needed with
            ``gate_map``.

    Returns:
        ``(batch, seq_len or 1, n_heads or 1, 1)``.
    """
    values = gates.reshape(len(gates), 1, -1, 1)
    if gate_map is not None:
        assert hidden is not None
        values = values + (hidden @ gate_map.to(hidden.dtype))[..., None, None]
    return values


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
        fusion_gate_map: tuple[Tensor, ...] | None = None,
        fusion_hidden: Tensor | None = None,
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
        slot = fusion_layers.index(layer)
        keys, values = fusion_keys[slot], fusion_values[slot]
        if keys.dim() == 3:
            keys, values = project_within(module, keys, values)
        context = cross_attention(
            query,
            keys,
            values,
            fusion_mask,
            scaling=kwargs.get("scaling"),
            softcap=kwargs.get("softcap"),
            fused=fused,
        )
        if fusion_gates is not None:
            own_map = None if fusion_gate_map is None else fusion_gate_map[slot]
            gate = gate_values(fusion_gates[:, slot], own_map, fusion_hidden)
            context = gate.to(context.dtype) * context
        added = context.reshape(output.shape)
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
