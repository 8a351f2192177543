"""The published computation, stated plainly, as something to measure against.

In every forward pass of a fused layer, and so at every step of a generation, the queries are
computed once more from what the layer reads, the aligned states are projected to keys and values
once more, shared heads are repeated in memory, the softmax is taken in float32, and the gated sum
goes through the output projection by itself. Padded encoder positions receive attention, the
positions of training count padding, and logits are computed at every position: the numbers are
those of a :class:`LayAlignModel` with ``mask_encoder_padding=False`` and
``mask_position_ids=False``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import GenerationConfig, PreTrainedModel

from layalign.model import LayAlignModel
from layalign.model.aligner import linear_as
from layalign.model.backbones import attention_layers
from layalign.model.fusion import FUSED_ATTENTION
from layalign.model.sequence import join_parts

_FAMILIES = ("llama", "mistral")
_BASE_ATTENTION = {fused: base for base, fused in FUSED_ATTENTION.items()}


def can_restate(model: LayAlignModel) -> bool:
    """Whether there is a published computation of such a model: a Llama, all of the method."""
    config = model.config
    return (
        config.text_config.model_type in _FAMILIES
        and config.adapter == "mlp"
        and config.aligner in ("linear", "mlp")
        and (config.gate, config.lora, config.aligner_width) == ("scalar", None, None)
        and not config.encoder_mean
        and config.bos_token_id is not None
    )


@contextmanager
def bare(language_model: PreTrainedModel) -> Iterator[Any]:
    """Give a language model back the attention that it had before it was fused, inside."""
    fused = language_model.config._attn_implementation
    language_model.set_attn_implementation(_BASE_ATTENTION.get(fused, fused))
    try:
        yield language_model
    finally:
        language_model.set_attn_implementation(fused)


def published_loss(model: LayAlignModel, inputs: Mapping[str, Tensor]) -> Tensor:
    """Mean cross entropy over the targets of a batch; arguments as of the model's ``forward``."""
    batch, states = _read(model, inputs)
    with _fused(model, states) as language_model:
        loss: Tensor = language_model(**batch, use_cache=False).loss
    return loss


@torch.no_grad()
def published_generate(
    model: LayAlignModel, inputs: Mapping[str, Tensor], generation_config: GenerationConfig
) -> Tensor:
    """New tokens of transformers' ``generate``, ``(batch, new_tokens)``, without beams."""
    batch, states = _read(model, inputs)
    with _fused(model, states) as language_model:
        found: Tensor = language_model.generate(**batch, generation_config=generation_config)
    return found


def _read(model: LayAlignModel, inputs: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
    """What the language model is given, and the aligned states of all slots.

    Returns:
        Arguments of the language model, and ``(batch, 2 * n_fused, enc_len, d_llm)``: of a fused
        layer keys, then values.
    """
    ids, mask = inputs["encoder_input_ids"], inputs["encoder_attention_mask"]
    with torch.no_grad():
        output = model.encoder(input_ids=ids, attention_mask=mask, output_hidden_states=True)
    embed, adapter = model.get_input_embeddings(), model.adapter
    assert adapter is not None
    assert adapter.linear2 is not None
    soft = linear_as(adapter.linear2, F.relu(linear_as(adapter.linear1, output[0])))
    boundary = adapter.boundary.to(soft.dtype).expand(len(ids), 1, -1)
    bos = embed(torch.full_like(ids[:, :1], model.config.bos_token_id))
    one = torch.ones_like(mask[:, :1])
    parts = [(bos, one), (soft, mask), (boundary, one)]
    if "input_ids" in inputs:
        parts.append((embed(inputs["input_ids"]), inputs["attention_mask"]))
    return join_parts(parts, inputs.get("labels")), _align(model, output.hidden_states)


def _align(model: LayAlignModel, hidden_states: tuple[Tensor, ...]) -> Tensor:
    aligner: Any = model.aligner
    chosen = torch.stack([hidden_states[i] for i in model.config.encoder_layers], -1)
    mixed = F.relu(linear_as(aligner.mix, chosen))  # (batch, enc_len, d_enc, 2 * n_fused)
    states = linear_as(aligner.project, mixed.movedim(-1, 1))
    return states if aligner.refine is None else linear_as(aligner.refine, F.relu(states))


@contextmanager
def _fused(model: LayAlignModel, states: Tensor) -> Iterator[Any]:
    """The language model whose layers attend to aligned states, inside and nowhere else."""
    attention = attention_layers(model.language_model)
    assert model.gates is not None
    with ExitStack() as stack:
        for slot, layer in enumerate(model.config.language_layers):
            hook = _layer_hook(states[:, 2 * slot], states[:, 2 * slot + 1], model.gates[slot])
            stack.enter_context(attention[layer].register_forward_hook(hook, with_kwargs=True))
        yield stack.enter_context(bare(model.language_model))


def _layer_hook(keys: Tensor, values: Tensor, gate: Tensor) -> Callable[..., Any]:
    def add(module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> Any:
        layer: Any = module
        hidden = kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]
        query = _rotate(_heads(layer.q_proj(hidden), layer), *kwargs["position_embeddings"])
        key, value = (_heads(x, layer) for x in (layer.k_proj(keys), layer.v_proj(values)))
        groups = query.shape[1] // key.shape[1]
        key, value = (x.repeat_interleave(groups, 1) for x in (key, value))
        scores = query @ key.transpose(-1, -2) * layer.head_dim**-0.5
        weights = scores.softmax(-1, dtype=torch.float32).to(query.dtype)
        context = (gate.to(query.dtype) * weights) @ value
        added = layer.o_proj(context.transpose(1, 2).flatten(-2))
        return (output[0] + added, *output[1:])

    return add


def _heads(x: Tensor, layer: Any) -> Tensor:
    """``(batch, n_heads, len, d_head)``."""
    split: Tensor = x.unflatten(-1, (-1, layer.head_dim))
    return split.transpose(1, 2)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the two halves of every head; ``cos`` and ``sin`` are ``(batch, len, d_head)``."""
    left, right = x.chunk(2, -1)
    return x * cos[:, None] + torch.cat([-right, left], -1) * sin[:, None]
