"""A LoRA or DoRA inside LayAlign: trained with the rest, on a language model that stays itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from factories import make_batch, make_language_model, make_model
from layalign.errors import BackboneError, CheckpointError, ConfigError
from layalign.model import LayAlignModel
from layalign.model.lora import without_lora

GREEDY = {"max_new_tokens": 4, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
KEYS_VALUES = ("fusion_keys", "fusion_values")
lora_kinds = pytest.mark.parametrize("dora", [False, True])


@lora_kinds
def test_below_the_lora_is_the_bare_model(dora: bool) -> None:
    bare, model = make_language_model(), make_model(lora={"rank": 2, "dora": dora})
    ids = torch.tensor([[1, 5, 6, 7]])
    with torch.no_grad():
        expected = bare(ids).logits
        assert not torch.allclose(model.language_model(ids).logits, expected, atol=1e-2)
        with without_lora(model.language_model):
            assert torch.equal(model.language_model(ids).logits, expected)
    assert {name for name, p in model.named_parameters() if p.requires_grad} == set(
        model.trainable_names()
    )


@pytest.mark.parametrize("tied", [False, True])
def test_saved_backbones_are_those_of_before(tied: bool, tmp_path: Path) -> None:
    bare, below, other = (make_language_model(tie_word_embeddings=tied) for _ in range(3))
    model, plain = make_model(below, lora={"rank": 2, "dora": True}), make_model(other)
    assert model.config.fingerprints == plain.config.fingerprints
    model.save_pretrained(tmp_path, include_backbones=True)
    stored = load_file(tmp_path / "language_model" / "model.safetensors")
    expected = dict(bare.named_parameters())
    assert set(stored) == set(expected)
    assert all(torch.equal(value, expected[name]) for name, value in stored.items())
    with pytest.raises(CheckpointError, match="other language_model weights"):
        LayAlignModel.from_pretrained(tmp_path, language_model=make_language_model(seed=9))


def test_the_cross_attention_uses_the_adapted_projections() -> None:
    ids = torch.tensor([[5, 6, 7]])
    found = []
    for targets in (["k_proj"], ["v_proj"], ["q_proj"]):
        model = make_model(lora={"rank": 2, "targets": targets})
        with torch.no_grad():
            encoded = model.encode(ids, torch.ones_like(ids))
            with without_lora(model.language_model):
                plain = model.encode(ids, torch.ones_like(ids))
        found.append([not torch.equal(encoded[k], plain[k]) for k in KEYS_VALUES])
    assert found == [[True, False], [False, True], [False, False]]


@pytest.mark.parametrize("family", ["phi3", "gpt_neox", "stablelm", "qwen3"])
def test_loras_of_other_families(family: str) -> None:
    model, batch = make_model(family, lora={"rank": 2}), make_batch(targets=False)
    cached = model.generate(**batch, use_cache=True, **GREEDY)
    assert torch.equal(cached, model.generate(**batch, use_cache=False, **GREEDY))


@lora_kinds
def test_a_lora_in_float32_beside_bfloat16_begins_at_nothing(dora: bool) -> None:
    bare = make_language_model().bfloat16()
    model = make_model(
        make_language_model().bfloat16(), gate=0.0, lora={"rank": 2, "dora": dora}
    ).train()
    ids = torch.tensor([[1, 5, 6, 7]])
    with torch.no_grad():
        assert torch.equal(model.language_model(ids).logits, bare(ids).logits)
    model(**make_batch()).loss.backward()
    for name, parameter in model.language_model.named_parameters():
        trained = ".lora_" in name
        assert parameter.dtype == (torch.float32 if trained else torch.bfloat16), name
        assert (parameter.grad is not None) == trained, name


def test_layers_that_are_not_there_and_a_lora_twice() -> None:
    with pytest.raises(ConfigError, match=r"names query, .* of llama are down_proj, gate_proj"):
        make_model(lora={"targets": ["q_proj", "query"]})
    model = make_model(lora={"rank": 2})
    with pytest.raises(BackboneError, match="carries a LoRA, perhaps of another LayAlignModel"):
        make_model(model.language_model)
