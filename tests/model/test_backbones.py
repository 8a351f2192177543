"""Backbones built from their configurations alone have the sizes of real ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import PreTrainedModel

from factories import ENCODERS, LANGUAGE_MODELS, make_encoder, make_language_model
from layalign.errors import BackboneError
from layalign.model import LayAlignModel
from layalign.model.backbones import outline_backbones


def sizes(model: PreTrainedModel) -> dict[str, tuple[int, ...]]:
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


PAIRS = [("bert", family) for family in LANGUAGE_MODELS] + [(e, "llama") for e in ENCODERS]


@pytest.mark.parametrize(("encoder", "language_model"), PAIRS)
def test_outlines(encoder: str, language_model: str, tmp_path: Path) -> None:
    found = make_encoder(encoder), make_language_model(language_model)
    expected = LayAlignModel.from_backbones(*found)
    for model, name in zip(found, ("enc", "llm"), strict=True):
        model.config.save_pretrained(tmp_path / name)
    outlines = outline_backbones(tmp_path / "enc", tmp_path / "llm")
    outline = LayAlignModel.from_backbones(*outlines)
    assert all(parameter.is_meta for parameter in outline.parameters())
    assert sizes(outline) == sizes(expected)
    assert outline.config.language_layers == expected.config.language_layers
    assert outline.config.fingerprints == {"encoder": "", "language_model": ""}


def test_an_encoder_cannot_be_the_language_model(tmp_path: Path) -> None:
    make_encoder("mt5").config.save_pretrained(tmp_path)
    with pytest.raises(BackboneError, match=r"'mt5' is not supported: .*no causal language model"):
        outline_backbones(tmp_path, tmp_path)
