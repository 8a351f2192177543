"""Saving and loading: only what was trained, and only with the backbones of training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModel,
    M2M100ForConditionalGeneration,
    MBartForConditionalGeneration,
    MT5ForConditionalGeneration,
    UMT5ForConditionalGeneration,
)

from factories import ENCODERS, make_batch, make_encoder, make_language_model, make_model
from layalign.errors import BackboneError, CheckpointError
from layalign.model import LayAlignConfig, LayAlignModel
from layalign.model.backbones import encoder_half, load_encoder
from layalign.model.checkpoint import describe


@pytest.fixture
def backbones(tmp_path: Path) -> dict[str, str]:
    folders = {"encoder": tmp_path / "enc", "language_model": tmp_path / "llm"}
    make_encoder("mt5").save_pretrained(folders["encoder"])
    make_language_model().save_pretrained(folders["language_model"])
    return {role: str(folder) for role, folder in folders.items()}


@pytest.fixture
def saved(tmp_path: Path, backbones: dict[str, str]) -> Path:
    model = make_model(**_loaded(backbones))
    model.save_pretrained(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def _loaded(backbones: dict[str, str]) -> dict[str, Any]:
    model = LayAlignModel.from_backbones(**backbones)
    return {"encoder": model.encoder, "language_model": model.language_model}


def logits(model: LayAlignModel) -> torch.Tensor:
    with torch.no_grad():
        return model(**make_batch()).logits


def test_it_generates_as_it_was_saved(tmp_path: Path, backbones: dict[str, str]) -> None:
    model = make_model(**_loaded(backbones))
    model.generation_config.repetition_penalty = 1.7
    model.save_pretrained(tmp_path / "checkpoint")
    again = LayAlignModel.from_pretrained(tmp_path / "checkpoint")
    assert again.generation_config.repetition_penalty == 1.7
    (tmp_path / "checkpoint" / "generation_config.json").unlink()
    again = LayAlignModel.from_pretrained(tmp_path / "checkpoint")
    assert again.generation_config.repetition_penalty != 1.7


def test_saved_names_are_the_trained_ones_and_logits_come_back(saved: Path) -> None:
    model = LayAlignModel.from_pretrained(saved)
    with safe_open(saved / "model.safetensors", "pt") as file:
        assert tuple(sorted(file.keys())) == model.trainable_names()
    assert sorted(p.name for p in saved.iterdir()) == [
        "README.md",
        "config.json",
        "generation_config.json",
        "model.safetensors",
    ]
    modes = {path.stat().st_mode for path in saved.iterdir()}
    assert len(modes) == 1  # others may read the weights if they may read the config
    again = LayAlignModel.from_pretrained(saved)
    assert torch.equal(logits(model), logits(again))
    assert model.gates.abs().min() > 0


def test_auto_classes(saved: Path) -> None:
    assert isinstance(AutoConfig.from_pretrained(saved), LayAlignConfig)
    model = AutoModel.from_pretrained(saved)
    assert isinstance(model, LayAlignModel)
    assert torch.equal(logits(model), logits(LayAlignModel.from_pretrained(saved)))


def test_a_self_contained_folder_needs_nothing_else(
    tmp_path: Path, saved: Path, backbones: dict[str, str]
) -> None:
    model = LayAlignModel.from_pretrained(saved)
    expected = logits(model)
    model.save_pretrained(tmp_path / "whole", include_backbones=True)
    modes = {path.stat().st_mode for path in (tmp_path / "whole").rglob("*") if path.is_file()}
    assert len(modes) == 1
    for folder in backbones.values():
        Path(folder).rename(folder + "-gone")
    assert torch.equal(logits(LayAlignModel.from_pretrained(tmp_path / "whole")), expected)
    with pytest.raises(BackboneError, match="cannot load the encoder"):
        LayAlignModel.from_pretrained(saved)
    moved = {role: folder + "-gone" for role, folder in backbones.items()}
    assert torch.equal(logits(LayAlignModel.from_pretrained(saved, **moved)), expected)


def test_other_weights_and_other_sizes_are_refused(saved: Path) -> None:
    with pytest.raises(CheckpointError, match="other language_model weights"):
        LayAlignModel.from_pretrained(saved, language_model=make_language_model(seed=9))
    LayAlignModel.from_pretrained(
        saved, language_model=make_language_model(seed=9), check_backbones=False
    )
    with pytest.raises(CheckpointError, match="hidden_size is 64, expected 32"):
        LayAlignModel.from_pretrained(saved, language_model=make_language_model(hidden_size=64))
    with pytest.raises(CheckpointError, match="model_type is 'bert', expected 'mt5'"):
        LayAlignModel.from_pretrained(saved, encoder=make_encoder("bert"))


def test_bfloat16_backbones_are_still_recognised(saved: Path) -> None:
    model = LayAlignModel.from_pretrained(saved, dtype=torch.bfloat16)
    assert model.language_model.dtype == model.encoder.dtype == torch.bfloat16
    assert model.gates.dtype == torch.float32


def test_the_same_weights_are_the_same_file(saved: Path, tmp_path: Path) -> None:
    for name in "abcd":
        LayAlignModel.from_pretrained(saved).save_pretrained(tmp_path / name)
    files = {(tmp_path / name / "model.safetensors").read_bytes() for name in "abcd"}
    assert files == {(saved / "model.safetensors").read_bytes()}


def test_a_bit_that_has_turned_is_found(saved: Path) -> None:
    place = saved / "model.safetensors"
    content = bytearray(place.read_bytes())
    content[-3] ^= 1
    place.write_bytes(content)
    with pytest.raises(CheckpointError, match="others than were saved"):
        LayAlignModel.from_pretrained(saved)


def test_damaged_checkpoints(saved: Path, tmp_path: Path) -> None:
    weights = saved / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="is damaged or cut off"):
        LayAlignModel.from_pretrained(saved)
    weights.write_bytes(whole)
    trained = load_file(weights)
    gates = trained.pop("gates")
    save_file({**trained, "extra": gates}, weights)
    with pytest.raises(CheckpointError, match=r"missing \['gates'\], unexpected \['extra'\]"):
        LayAlignModel.from_pretrained(saved)
    save_file({**trained, "gates": torch.zeros(7)}, weights)
    with pytest.raises(CheckpointError, match=r"gates has shape \(7,\), expected \(2,\)"):
        LayAlignModel.from_pretrained(saved)
    weights.unlink()
    with pytest.raises(CheckpointError, match=r"has no model\.safetensors"):
        LayAlignModel.from_pretrained(saved)
    with pytest.raises(CheckpointError, match="no checkpoint folder"):
        LayAlignModel.from_pretrained(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="no checkpoint folder '/nowhere'"):
        LayAlignModel.from_pretrained("/nowhere")


def test_description_needs_no_backbones(saved: Path, backbones: dict[str, str]) -> None:
    for folder in backbones.values():
        Path(folder).rename(folder + "-gone")
    facts = describe(saved)
    assert facts["encoder_type"] == "mt5"
    assert facts["trained_parameters"]["gates"] == 2
    assert len(facts["gates"]) == 2


@pytest.mark.parametrize(
    ("family", "full"),
    [
        ("mt5", MT5ForConditionalGeneration),
        ("umt5", UMT5ForConditionalGeneration),
        ("m2m_100", M2M100ForConditionalGeneration),
        ("mbart", MBartForConditionalGeneration),
    ],
)
def test_encoder_half_of_a_full_checkpoint(tmp_path: Path, family: str, full: Any) -> None:
    torch.manual_seed(0)
    model = full(CONFIG_MAPPING[family](**ENCODERS[family])).eval()
    model.save_pretrained(tmp_path)
    half = load_encoder(str(tmp_path)).eval()
    assert isinstance(half, encoder_half(half.config).model_class)
    batch = make_batch()
    ids, mask = batch["encoder_input_ids"], batch["encoder_attention_mask"]
    with torch.no_grad():
        expected = model.get_encoder()(input_ids=ids, attention_mask=mask).last_hidden_state
        found = half(input_ids=ids, attention_mask=mask).last_hidden_state
    assert torch.equal(found, expected)
    assert not [name for name, _ in half.named_parameters() if "decoder" in name]


def test_an_encoder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"cannot load the encoder .*expected a folder"):
        load_encoder(str(tmp_path / "nothing"))
