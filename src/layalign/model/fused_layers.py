"""Make a language model's layers use the fused attention, and see that every one can.

Together with :mod:`layalign.model.fusion` this is all that touches the LLM's attention.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from layalign.errors import BackboneError
from layalign.model.aligner import linear_as
from layalign.model.backbones import attention_layers, token_embedding
from layalign.model.fusion import FUSED_ATTENTION
from layalign.model.projections import (
    are_whole,
    key_value_heads,
    key_value_projections,
    project_after,
)


def fuse_layers(
    language_model: PreTrainedModel, layers: Sequence[int], *, give_hidden: bool = False
) -> None:
    """Switch a language model to fused attention and see that every fused layer carries it.

    Args:
        language_model: Changed in place; alone it computes as before.
        layers: Indices of the layers to fuse.
        give_hidden: Whether the gates of these layers depend on the hidden state.

    Raises:
        BackboneError: Some layers cannot be fused.
    """
    use_fused_attention(language_model)
    usable = attention_layers(language_model)
    if missing := sorted(set(layers) - set(usable)):
        raise BackboneError(
            f"layers {missing} of {language_model.config.model_type} have no softmax "
            f"attention to fuse; choose language_layers among {sorted(usable)}"
        )
    reach_layers(language_model, {layer: usable[layer] for layer in layers})
    for layer in layers if give_hidden else ():
        hand_hidden(usable[layer])


def project_states(
    language_model: PreTrainedModel,
    layers: Sequence[int],
    mixed: Tensor,
    last: nn.Linear,
    gates: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Run the aligner's last layer and the projections of every fused layer.

    Args:
        language_model: With fused attention.
        layers: Indices of the fused layers.
        mixed: What the aligner's last layer reads, ``(2 * n_fused, batch, enc_len, width)``.
        last: That layer.
        gates: Multiply the values of each layer with its gate, ``(n_fused,)``. A gate that is the
            same for all positions and heads may come before the attention as well as after it, and
            so is applied once rather than at every step.

    Returns:
        Keys and values, each ``(batch, n_fused, n_kv_heads, enc_len, d_head)``. If the language
        model is spread over several processes, what each layer is to project itself and multiply
        with its gate: ``(batch, n_fused, enc_len, d_llm)``.
    """
    attention = attention_layers(language_model)
    pairs = [key_value_projections(attention[layer]) for layer in layers]
    projections = [part for pair in pairs for part in pair]
    if not are_whole(projections):
        states = linear_as(last, mixed).transpose(0, 1)
        return states[:, ::2], states[:, 1::2]
    projected = project_after(last, projections, mixed)
    heads = [
        key_value_heads(attention[layer], projected[2 * slot], projected[2 * slot + 1])
        for slot, layer in enumerate(layers)
    ]
    keys, values = ([pair[side] for pair in heads] for side in (0, 1))
    if gates is not None:
        values = [value * gate.to(value.dtype) for value, gate in zip(values, gates, strict=True)]
    return torch.stack(keys, 1), torch.stack(values, 1)


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


def hand_hidden(attention: nn.Module) -> None:
    """Give the fused attention of a layer what the layer's projections read, as a keyword."""

    def give(_: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]] | None:
        if kwargs.get("fusion_gate_map") is None:
            return None
        hidden = kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]
        return args, {**kwargs, "fusion_hidden": hidden}

    attention.register_forward_pre_hook(give, with_kwargs=True)
