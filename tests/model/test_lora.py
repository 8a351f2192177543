"""LoRAs on the language model: merged when loaded, and told apart by what is stored."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from factories import make_batch, make_encoder, make_language_model, make_tokenizer
from layalign.errors import BackboneError, CheckpointError, ConfigError
from layalign.model import LayAlignModel
from layalign.model.backbones import load_language_model, outline_backbones
from layalign.model.lora import add_new_lora, lora_base
from layalign.model.tokenizers import checkpoint_tokenizers, load_tokenizer

IDS = torch.tensor([[1, 5, 6, 7]])


@pytest.fixture
def base(tmp_path: Path) -> Path:
    make_language_model().save_pretrained(tmp_path / "llm")
    return tmp_path / "llm"


def store_lora(base: Path, folder: Path, *, seed: int = 0) -> PreTrainedModel:
    """Write a LoRA that changes something, and return it unmerged."""
    torch.manual_seed(seed)
    adapted = add_new_lora(load_language_model(str(base)), 4)
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    adapted.save_pretrained(folder)
    return adapted


def logits(model: PreTrainedModel) -> torch.Tensor:
    with torch.no_grad():
        return model(IDS).logits


def test_a_stored_lora_is_merged(base: Path, tmp_path: Path) -> None:
    adapted = store_lora(base, tmp_path / "lora")
    loaded = load_language_model(str(tmp_path / "lora"))
    assert not any("lora_" in name for name, _ in loaded.named_parameters())
    torch.testing.assert_close(logits(loaded), logits(adapted), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(logits(loaded), logits(load_language_model(str(base))), atol=1e-2)
    assert loaded.name_or_path == str(tmp_path / "lora")


def test_a_new_lora_changes_nothing_and_leaves_the_head_alone(base: Path) -> None:
    adapted = add_new_lora(load_language_model(str(base)), 4)
    torch.testing.assert_close(logits(adapted), logits(load_language_model(str(base))))
    trained = {name for name, p in adapted.named_parameters() if p.requires_grad}
    assert trained
    assert not any("lm_head" in name or "embed" in name for name in trained)


def test_a_new_lora_knows_the_revision_of_its_base(base: Path, tmp_path: Path) -> None:
    adapted = add_new_lora(load_language_model(str(base)), 2, "abc123")
    adapted.save_pretrained(tmp_path / "lora", save_embedding_layers=False)
    assert lora_base(str(tmp_path / "lora")) == (str(base), "abc123")


def test_composite_on_a_lora_comes_back(base: Path, tmp_path: Path) -> None:
    store_lora(base, tmp_path / "lora")
    model = LayAlignModel.from_backbones(make_encoder(), str(tmp_path / "lora"))
    model.encoder.save_pretrained(tmp_path / "enc")
    model.save_pretrained(tmp_path / "checkpoint")
    options = {"encoder": str(tmp_path / "enc")}
    for dtype in (None, torch.bfloat16):  # the sums of a merge differ, what is stored does not
        again = LayAlignModel.from_pretrained(tmp_path / "checkpoint", dtype=dtype, **options)
        if dtype is None:
            with torch.no_grad():
                torch.testing.assert_close(
                    again(**make_batch()).logits, model(**make_batch()).logits
                )
    for other in (base, tmp_path / "another"):
        if other != base:
            store_lora(base, other, seed=1)
        with pytest.raises(CheckpointError, match="other language_model weights"):
            LayAlignModel.from_pretrained(
                tmp_path / "checkpoint", language_model=str(other), **options
            )


def test_outline_has_the_sizes_of_the_base(base: Path, tmp_path: Path) -> None:
    store_lora(base, tmp_path / "lora")
    make_encoder().save_pretrained(tmp_path / "enc")
    _, outline = outline_backbones(tmp_path / "enc", tmp_path / "lora")
    plain = load_language_model(str(base))
    sizes = {name: p.shape for name, p in outline.named_parameters()}
    assert sizes == {name: p.shape for name, p in plain.named_parameters()}


def test_damaged_loras(base: Path, tmp_path: Path) -> None:
    lora = tmp_path / "lora"
    store_lora(base, lora)
    assert lora_base(str(base)) is None
    assert lora_base(str(lora)) == (str(base), None)
    weights = lora / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(BackboneError, match="cannot put the LoRA"):
        load_language_model(str(lora))
    config = lora / "adapter_config.json"
    moved = json.loads(config.read_text()) | {"base_model_name_or_path": str(tmp_path / "gone")}
    config.write_text(json.dumps(moved))
    with pytest.raises(BackboneError, match=r"cannot load the language model .*gone"):
        load_language_model(str(lora))
    config.write_text("{}")
    with pytest.raises(BackboneError, match="is damaged"):
        load_language_model(str(lora))


def test_loras_that_are_their_own_base(tmp_path: Path) -> None:
    for name, base in (("one", "two"), ("two", "one"), ("self", "self")):
        (tmp_path / name).mkdir()
        config = {"peft_type": "LORA", "base_model_name_or_path": str(tmp_path / base)}
        (tmp_path / name / "adapter_config.json").write_text(json.dumps(config))
    for name in ("one", "self"):
        with pytest.raises(BackboneError, match="is its own base, through"):
            load_language_model(str(tmp_path / name))


def test_tokenizers_come_from_where_the_weights_do(base: Path, tmp_path: Path) -> None:
    lora = tmp_path / "checkpoint" / "language_model"
    store_lora(base, lora)
    with pytest.raises(ConfigError, match="cannot load a tokenizer"):
        load_tokenizer(str(lora))
    make_tokenizer().save_pretrained(base)
    assert load_tokenizer(str(lora)).get_vocab() == make_tokenizer().get_vocab()
    make_encoder().save_pretrained(tmp_path / "enc")
    make_tokenizer().save_pretrained(tmp_path / "enc")
    model = LayAlignModel.from_backbones(str(tmp_path / "enc"), str(lora))
    model.save_pretrained(tmp_path / "checkpoint")
    encoder, tokenizer = checkpoint_tokenizers(tmp_path / "checkpoint")
    assert encoder.name_or_path == str(tmp_path / "enc")
    assert tokenizer.get_vocab() == make_tokenizer().get_vocab()
