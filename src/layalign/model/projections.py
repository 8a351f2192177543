"""The key and value projections of an LLM's attention, in every family that we know."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from torch import Tensor, distributed, nn
from torch.nn import functional as F

from layalign.model.aligner import linear_as

if distributed.is_available():
    from torch.distributed.tensor import DTensor

PROJECTIONS = (("k_proj", "v_proj"), ("qkv_proj",), ("query_key_value",))
"""Names of the modules that compute keys and values; one of these groups is there."""


def projection_names(attention: nn.Module) -> tuple[str, ...]:
    """The group of :data:`PROJECTIONS` that a module has; empty if it has none."""
    for names in PROJECTIONS:
        if all(isinstance(getattr(attention, name, None), nn.Module) for name in names):
            return names
    return ()


class Projection(NamedTuple):
    """A linear map, perhaps one of several that a layer computes together."""

    layer: nn.Module
    """Computes it."""

    take: Callable[[Tensor], Tensor] = lambda x: x
    """Picks its outputs from the last axis of the layer's."""

    def __call__(self, x: Tensor) -> Tensor:
        """Apply it: ``(…, d_in)`` to ``(…, d_out)``."""
        own = self.weights()
        return self.take(self.layer(x)) if own is None else F.linear(x, *own)

    def weights(self) -> tuple[Tensor, Tensor | None] | None:
        """Its weight ``(d_out, d_in)`` and its bias ``(d_out,)``, if any.

        Returns:
            None if the layer does more than to multiply with its weight and add its bias: it is
            quantised, adapted, sharded, offloaded or watched by a hook.
        """
        layer = self.layer
        if type(layer) is not nn.Linear or type(layer.weight) is not nn.Parameter:
            return None
        if "forward" in vars(layer) or layer._forward_hooks or layer._forward_pre_hooks:
            return None
        return self.take(layer.weight.T).T, None if layer.bias is None else self.take(layer.bias)


def key_value_projections(attention: nn.Module) -> tuple[Projection, Projection]:
    """A layer's own frozen key and value projections, without the norm that may follow.

    Args:
        attention: A module from :func:`layalign.model.backbones.attention_layers`.
    """
    module: Any = attention  # each family has its own attributes
    names = projection_names(attention)
    if names == ("k_proj", "v_proj"):
        return Projection(module.k_proj), Projection(module.v_proj)
    if names == ("qkv_proj",):
        n_query = module.o_proj.in_features
        n_kv = (module.qkv_proj.out_features - n_query) // 2
        return (
            Projection(module.qkv_proj, lambda x: x[..., n_query : n_query + n_kv]),
            Projection(module.qkv_proj, lambda x: x[..., n_query + n_kv :]),
        )
    # query_key_value: for each head its query, its key, its value
    parts = (-1, 3, _head_size(attention))
    return (
        Projection(module.query_key_value, lambda x: x.unflatten(-1, parts)[..., 1, :].flatten(-2)),
        Projection(module.query_key_value, lambda x: x.unflatten(-1, parts)[..., 2, :].flatten(-2)),
    )


def are_whole(projections: Sequence[Projection]) -> bool:
    """Whether the weights can be used now; where FSDP has spread them, only while a layer runs."""
    weights = (weight for p in projections for weight in p.layer.parameters())
    return not (distributed.is_available() and any(isinstance(w, DTensor) for w in weights))


def project_within(attention: nn.Module, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Project aligned states while the layer runs that they are for.

    Args:
        attention: A module from :func:`layalign.model.backbones.attention_layers`.
        keys: What becomes keys, ``(batch, enc_len, d_llm)``.
        values: The same of the values.

    Returns:
        What :func:`key_value_heads` gives.
    """
    key, value = key_value_projections(attention)
    return key_value_heads(attention, key(keys), value(values))


def project_after(
    before: nn.Linear, projections: Sequence[Projection], x: Tensor
) -> Sequence[Tensor]:
    """Apply one linear layer to several tensors, and to each result a projection of its own.

    Where that takes fewer operations the two matrices are multiplied first: then nothing is
    computed at the width between them, which matters above all where keys and values are narrow.

    Args:
        before: The layer that they share, ``d_in`` to ``d_between``.
        projections: One for each tensor, each ``d_between`` to its ``d_out``.
        x: The tensors, ``(len(projections), batch, enc_len, d_in)``.

    Returns:
        For each tensor ``(batch, enc_len, d_out)``.
    """
    own = [projection.weights() for projection in projections]
    tokens = x.shape[1] * x.shape[2]
    merged = [w for w in own if w is not None and is_cheaper_merged(before, len(w[0]), tokens)]
    if len(merged) < len(own):
        states = linear_as(before, x).unbind(0)
        return [project(state) for project, state in zip(projections, states, strict=True)]
    # Taken apart once: a slice for every layer would cost a whole tensor of gradient each.
    return [
        _merged(before, weight, bias, part)
        for (weight, bias), part in zip(merged, x.unbind(0), strict=True)
    ]


def is_cheaper_merged(before: nn.Linear, d_out: int, tokens: int) -> bool:
    """Tell whether merging two linear layers takes fewer multiplications than applying both.

    Applied in turn they take ``tokens * d_between * (d_in + d_out)``, merged
    ``d_in * d_out * (tokens + d_between)``.
    """
    d_in, d_between = before.in_features, before.out_features
    return d_in * d_out * (tokens + d_between) < tokens * d_between * (d_in + d_out)


def _merged(before: nn.Linear, weight: Tensor, bias: Tensor | None, x: Tensor) -> Tensor:
    product = weight @ before.weight.to(weight.dtype)
    return F.linear(x, product, F.linear(before.bias.to(weight.dtype), weight, bias))


def key_value_heads(attention: nn.Module, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Split what the two projections give into heads.

    A key norm, where the family has one, belongs to the projection: the queries that meet these
    keys are normalised too. There is no rotary embedding.

    Args:
        attention: The module they are of.
        key: ``(batch, enc_len, n_kv_heads * d_head)``.
        value: The same of the values.

    Returns:
        Keys and values, each ``(batch, n_kv_heads, enc_len, d_head)``.
    """
    d_head = _head_size(attention)
    return _normed_heads(attention, key, d_head), _heads(value, d_head)


def _head_size(attention: Any) -> int:
    return int(getattr(attention, "head_dim", None) or attention.head_size)


def _heads(x: Tensor, d_head: int) -> Tensor:
    """Split the last axis into heads: ``(batch, n_kv_heads, enc_len, d_head)``."""
    split: Tensor = x.unflatten(-1, (-1, d_head))
    return split.transpose(1, 2)


def _normed_heads(attention: nn.Module, key: Tensor, d_head: int) -> Tensor:
    """Split into heads, ``(batch, n_kv_heads, enc_len, d_head)``, around the layer's key norm."""
    norm: Any = getattr(attention, "k_norm", None) or getattr(attention, "k_layernorm", None)
    if norm is None:
        return _heads(key, d_head)
    weight = getattr(norm, "weight", None)
    if weight is None:  # one norm per head, applied after the split (StableLM)
        normed: Tensor = norm(_heads(key, d_head))
        return normed
    if weight.dim() == 1 and weight.shape[0] == key.shape[-1]:  # over all heads at once (OLMo 2)
        return _heads(norm(key), d_head)
    per_head: Tensor = norm(key.unflatten(-1, (-1, d_head)))
    return per_head.transpose(1, 2)
