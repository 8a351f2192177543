"""The plain re-statement of the published computation against the model in its published mode."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import GenerationConfig

from factories import make_batch, make_language_model, make_model
from layalign.bench.published import bare, can_restate, published_generate, published_loss
from layalign.model import LayAlignModel

PUBLISHED = {"mask_encoder_padding": False, "mask_position_ids": False}
# Of the method as published; the encoder is as good as any.
MODELS: dict[str, dict[str, Any]] = {
    "grouped heads": {"language_model": "llama"},
    "own heads": {"language_model": make_language_model(num_key_value_heads=4)},
    "mistral, mlp": {"language_model": "mistral", "aligner": "mlp"},
    "some layers": {
        "language_model": make_language_model(num_hidden_layers=4),
        "language_layers": [0, 2, 3],
        "encoder_layers": [3, 1],
    },
}


def gradients(model: LayAlignModel, loss: Tensor) -> dict[str, Tensor]:
    model.zero_grad(set_to_none=True)
    loss.backward()
    return {name: model.get_parameter(name).grad.clone() for name in model.trainable_names()}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("stage", [1, 2])
def test_loss_and_gradients(name: str, stage: int) -> None:
    model = make_model(**MODELS[name], **PUBLISHED).train()
    batch = make_batch()
    if stage == 1:  # labels alone
        batch["labels"] = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    own, theirs = model(**batch).loss, published_loss(model, batch)
    torch.testing.assert_close(theirs, own)
    found, expected = gradients(model, theirs), gradients(model, own)
    for key, value in expected.items():
        assert value.abs().max() > 0
        torch.testing.assert_close(found[key], value, atol=1e-5 * float(value.abs().max()), rtol=0)


@pytest.mark.parametrize("name", MODELS)
def test_generation(name: str) -> None:
    model = make_model(**MODELS[name], **PUBLISHED)
    config = GenerationConfig(min_new_tokens=6, max_new_tokens=6, do_sample=False, pad_token_id=0)
    for batch in (make_batch(targets=False), {k: make_batch()[k] for k in ENCODER_ONLY}):
        expected = model.generate(**batch, generation_config=config)
        assert expected.shape == (3, 6)
        assert torch.equal(published_generate(model, batch, config), expected)


ENCODER_ONLY = ("encoder_input_ids", "encoder_attention_mask")


def test_without_padding_it_is_the_default_too() -> None:
    model = make_model()
    batch = {key: tensor[:1, -4:] for key, tensor in make_batch().items()}
    batch["encoder_attention_mask"] = torch.ones(1, 4, dtype=torch.long)
    batch["attention_mask"] = torch.ones(1, 4, dtype=torch.long)
    torch.testing.assert_close(published_loss(model, batch), model(**batch).loss)


def test_nothing_stays_on_the_language_model() -> None:
    model = make_model()
    batch = make_batch()
    before = model(**batch).loss
    published_loss(model, batch)
    with pytest.raises(IndexError), bare(model.language_model) as language_model:
        language_model(torch.tensor([[1000]]))
    assert not any(module._forward_hooks for module in model.language_model.modules())
    assert torch.equal(model(**batch).loss, before)


def test_the_bare_model_is_the_one_from_before() -> None:
    alone, joined = make_language_model(), make_model()
    ids = torch.tensor([[5, 6, 7]])
    with bare(joined.language_model) as language_model:
        assert torch.equal(language_model(ids).logits, alone(ids).logits)


@pytest.mark.parametrize(
    "settings",
    [
        {"language_model": "qwen3"},
        {"gate_kind": "head"},
        {"adapter": "linear"},
        {"aligner": "none"},
        {"encoder_layers": "mean"},
        {"lora": {"rank": 2}},
        {"aligner_width": 20},
        {"bos_token_id": None},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_what_was_never_published(settings: dict[str, Any]) -> None:
    assert not can_restate(make_model(**settings))
