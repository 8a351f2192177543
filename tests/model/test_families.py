"""Properties that the fusion holds for every family of language model and encoder."""

from __future__ import annotations

import shutil

import pytest
import torch
from torch import Tensor

from factories import (
    ENCODERS,
    LANGUAGE_MODELS,
    make_batch,
    make_encoder,
    make_language_model,
    make_model,
)
from layalign.model import LayAlignModel
from layalign.model.backbones import attention_layers
from layalign.model.projections import key_value_heads, key_value_projections

PAIRS = [(family, "bert") for family in LANGUAGE_MODELS] + [
    ("llama", family) for family in ENCODERS if family != "bert"
]
every_pair = pytest.mark.parametrize(("family", "encoder"), PAIRS)
every_llm = pytest.mark.parametrize("family", LANGUAGE_MODELS)
# Batches and single rows run through matrix products of other shapes; measured worst case 4e-6.
CLOSE = {"atol": 5e-5, "rtol": 1e-4}


def real_logits(model: LayAlignModel, batch: dict[str, Tensor]) -> list[Tensor]:
    """Logits at each row's real positions."""
    with torch.no_grad():
        logits = model(**batch).logits
        mask = model.assemble(**batch)["attention_mask"].bool()
    return [row[keep] for row, keep in zip(logits, mask, strict=True)]


def row_of(batch: dict[str, Tensor], row: int) -> dict[str, Tensor]:
    """One row with all its padding taken off."""
    encoder = batch["encoder_attention_mask"][row].bool()
    text = batch["attention_mask"][row].bool()
    return {
        key: value[row][encoder if key.startswith("encoder") else text][None]
        for key, value in batch.items()
    }


def assert_same(found: list[Tensor], expected: list[Tensor]) -> None:
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, **CLOSE)


@every_llm
def test_gate_zero_is_the_bare_model(family: str) -> None:
    bare = make_language_model(family)
    model = make_model(make_language_model(family), gate=0.0)
    batch = make_batch(targets=False)
    with torch.no_grad():
        given = model.assemble(**batch)
        mask = given["attention_mask"]
        expected = bare(
            inputs_embeds=given["inputs_embeds"],
            attention_mask=mask,
            position_ids=(mask.cumsum(-1) - 1).clamp(min=0),
        ).logits
        found = model(**batch).logits
    torch.testing.assert_close(found[mask.bool()], expected[mask.bool()], **CLOSE)
    ids = batch["input_ids"][2:]
    with torch.no_grad():
        torch.testing.assert_close(
            model.language_model(input_ids=ids).logits, bare(input_ids=ids).logits, **CLOSE
        )


@every_llm
def test_fusion_reaches_the_logits(family: str) -> None:
    model = make_model(family)
    batch = make_batch(targets=False)
    fused = real_logits(model, batch)
    for slot in range(len(model.gates)):
        gates = model.gates.data.clone()
        model.gates.data[slot] = 0
        changed = real_logits(model, batch)
        assert all((a - b).abs().max() > 1e-3 for a, b in zip(fused, changed, strict=True)), slot
        model.gates.data = gates


@every_llm
def test_projections_are_the_layers_own(family: str) -> None:
    """At position 0 nothing is rotated, so the cache holds what the projections give."""
    llm = make_language_model(family)
    attention = attention_layers(llm)
    seen: dict[int, Tensor] = {}
    for layer, module in attention.items():
        module.register_forward_pre_hook(
            lambda _, args, kwargs, layer=layer: seen.update(
                {layer: kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]}
            ),
            with_kwargs=True,
        )
    with torch.no_grad():
        cache = llm(input_ids=torch.tensor([[7]]), use_cache=True).past_key_values
        for layer, module in attention.items():
            projected = [part(seen[layer]) for part in key_value_projections(module)]
            key, value = key_value_heads(module, *projected)
            torch.testing.assert_close(key, cache.layers[layer].keys, **CLOSE)
            torch.testing.assert_close(value, cache.layers[layer].values, **CLOSE)


@every_pair
def test_batch_equals_one_by_one(family: str, encoder: str) -> None:
    model, batch = make_model(family, encoder), make_batch(targets=False)
    alone = [real_logits(model, row_of(batch, row))[0] for row in range(3)]
    assert_same(real_logits(model, batch), alone)


@every_pair
def test_padding_changes_nothing(family: str, encoder: str) -> None:
    model, batch = make_model(family, encoder), make_batch(targets=False)
    expected = real_logits(model, batch)
    more = {
        key: torch.nn.functional.pad(value, (0, 3) if key.startswith("encoder") else (2, 0))
        for key, value in batch.items()
    }
    more["encoder_input_ids"][more["encoder_attention_mask"] == 0] = 7
    more["input_ids"][more["attention_mask"] == 0] = 9
    assert_same(real_logits(model, more), expected)
    right = {key: value.clone() for key, value in batch.items()}
    for row, mask in enumerate(batch["attention_mask"].bool()):
        for key in ("input_ids", "attention_mask"):
            right[key][row] = torch.cat([batch[key][row][mask], batch[key][row][~mask]])
    assert_same(real_logits(model, right), expected)


@every_llm
def test_cached_generation_equals_uncached(family: str) -> None:
    model, batch = make_model(family), make_batch(targets=False)
    settings = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    cached = model.generate(**batch, use_cache=True, **settings)
    assert torch.equal(cached, model.generate(**batch, use_cache=False, **settings))
    assert cached.shape == (3, 6)
    alone = [model.generate(**row_of(batch, row), **settings)[0] for row in range(3)]
    assert torch.equal(cached, torch.stack(alone))
    # The same ids as by calling forward on ever longer texts: nothing stale in the cache.
    step = dict(batch)
    for column in range(3):
        with torch.no_grad():
            best = model(**step).logits[:, -1].argmax(-1)
        assert torch.equal(best, cached[:, column])
        step["input_ids"] = torch.cat([step["input_ids"], best[:, None]], 1)
        step["attention_mask"] = torch.cat([step["attention_mask"], torch.ones(3, 1).long()], 1)


@every_pair
def test_exactly_the_trained_parameters_learn(family: str, encoder: str) -> None:
    model, batch = make_model(family, encoder).train(), make_batch()
    frozen = {n: p.clone() for n, p in model.named_parameters() if not p.requires_grad}
    parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert set(parameters) == set(model.trainable_names())
    assert {n.split(".")[0] for n in parameters} == {"adapter", "aligner", "gates"}
    optimizer = torch.optim.SGD(parameters.values(), lr=1e-3)
    for _ in range(2):
        optimizer.zero_grad()
        model(**batch).loss.backward()
        for name, parameter in parameters.items():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.abs().max() > 0, name
        optimizer.step()
        model.eval().generate(**make_batch(targets=False), max_new_tokens=2, pad_token_id=0)
        model.train()
    for name, parameter in model.named_parameters():
        if name in frozen:
            assert parameter.grad is None, name
            assert torch.equal(parameter, frozen[name]), name


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "gpt_neox"])
def test_eager_equals_sdpa(family: str) -> None:
    batch = make_batch()
    found = [
        real_logits(make_model(make_language_model(family, attn_implementation=name)), batch)
        for name in ("eager", "sdpa")
    ]
    assert_same(*found)


# torch compiles this one. On a CPU it can do no backward pass, and cannot decode padded rows.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # inside torch
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles FlexAttention with g++")
def test_flex_attention_equals_sdpa_also_in_generation() -> None:
    batch = make_batch(targets=False)
    sdpa, flex = (
        make_model(make_language_model("llama", attn_implementation=name))
        for name in ("sdpa", "flex_attention")
    )
    with torch.no_grad():
        assert_same(real_logits(flex, batch), real_logits(sdpa, batch))
        greedy = {"do_sample": False, "max_new_tokens": 4, "eos_token_id": None, "pad_token_id": 0}
        assert torch.equal(
            *(model.generate(**row_of(batch, 0), **greedy) for model in (flex, sdpa))
        )


@pytest.mark.parametrize("encoder", ENCODERS)
def test_only_the_encoder_half_is_held(encoder: str) -> None:
    names = {name for name, _ in make_encoder(encoder).named_parameters()}
    assert not [name for name in names if "decoder" in name or "pooler" in name]
