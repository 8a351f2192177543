"""The aligner's last layer and a layer's key and value projections, applied in turn or merged."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from factories import LANGUAGE_MODELS, make_language_model
from layalign.model.backbones import attention_layers
from layalign.model.lora import insert_lora
from layalign.model.projections import (
    Projection,
    is_cheaper_merged,
    key_value_projections,
    project_after,
)
from layalign.model.switches import LoraSettings

FEW, MANY = 1, 400  # tokens: too few for merging to pay, and enough


def plain(attention: Any, states: tuple[Tensor, Tensor]) -> list[Tensor]:
    """Keys and values by the layer's own modules, with what else those compute cut off."""
    key, value = states
    if hasattr(attention, "k_proj"):
        return [attention.k_proj(key), attention.v_proj(value)]
    if hasattr(attention, "qkv_proj"):
        size = attention.num_key_value_heads * attention.head_dim
        return [
            attention.qkv_proj(key)[..., -2 * size : -size],
            attention.qkv_proj(value)[..., -size:],
        ]
    both = [
        [head.chunk(3, -1)[part] for head in attention.query_key_value(x).split(24, -1)]
        for part, x in ((1, key), (2, value))
    ]
    return [torch.cat(heads, -1) for heads in both]


@pytest.mark.parametrize("tokens", [FEW, MANY])
@pytest.mark.parametrize("family", LANGUAGE_MODELS)
def test_merged_or_in_turn_it_is_the_same(family: str, tokens: int) -> None:
    torch.manual_seed(0)
    attention = attention_layers(make_language_model(family))[1].requires_grad_(False)
    before = nn.Linear(5, 32)
    x = torch.randn(2, 1, tokens, 5, requires_grad=True)
    given = [x, *before.parameters()]
    found = project_after(before, key_value_projections(attention), x)
    expected = plain(attention, (before(x[0]), before(x[1])))
    assert is_cheaper_merged(before, found[0].shape[-1], tokens) == (tokens == MANY)
    torch.testing.assert_close(list(found), expected, atol=1e-4, rtol=1e-4)
    seeds = [torch.randn_like(part) for part in found]
    torch.testing.assert_close(
        torch.autograd.grad(found, given, seeds),
        torch.autograd.grad(expected, given, seeds),
        atol=1e-3,
        rtol=1e-3,
    )


def test_the_cheaper_way_counted() -> None:
    before = nn.Linear(3, 7)
    for tokens in range(1, 40):
        for d_out in (2, 7, 11):
            in_turn = tokens * 3 * 7 + tokens * 7 * d_out
            merged = d_out * 7 * 3 + tokens * 3 * d_out
            assert is_cheaper_merged(before, d_out, tokens) == (merged < in_turn)


@pytest.mark.parametrize("family", ["llama", "phi3", "gpt_neox"])
def test_layers_that_are_more_than_their_weight_are_called(family: str) -> None:
    language_model = make_language_model(family)
    attention = attention_layers(language_model)[0]
    assert all(part.weights() is not None for part in key_value_projections(attention))
    insert_lora(language_model, LoraSettings(rank=2))
    assert all(part.weights() is None for part in key_value_projections(attention))


def test_a_layer_with_a_hook_is_called() -> None:
    layer, calls = nn.Linear(5, 4), []
    layer.register_forward_hook(lambda *_: calls.append(1))
    project_after(nn.Linear(3, 5), [Projection(layer)], torch.randn(1, 1, MANY, 3))
    assert calls == [1]
