"""Backbones built from their configurations alone have the sizes of real ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from factories import ENCODERS, LANGUAGE_MODELS, make_encoder, make_language_model
from layalign.errors import BackboneError, ConfigError
from layalign.model import LayAlignModel
from layalign.model.backbones import encoder_positions, outline_backbones


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


@pytest.mark.parametrize("family", [name for name in ENCODERS if name != "gpt2"])
def test_the_longest_text_is_what_the_encoder_can_read(family: str) -> None:
    has_table = ENCODERS[family].keys() & {"max_position_embeddings"}
    encoder = make_encoder(family, **dict.fromkeys(has_table, 12))

    def reads(length: int) -> bool:
        ids = torch.full((1, length), 7)
        try:
            encoder(input_ids=ids, attention_mask=torch.ones_like(ids))
        except (IndexError, RuntimeError):
            return False
        return True

    longest = next((n for n in range(8, 16) if not reads(n)), 16) - 1
    assert encoder_positions(encoder) == (longest if longest < 15 else None)


def test_a_text_that_is_too_long_is_named() -> None:
    model = LayAlignModel.from_backbones(
        make_encoder(max_position_embeddings=12), make_language_model()
    )
    model.encode(*(torch.ones(2, 1, 12, dtype=torch.long)))
    with pytest.raises(ConfigError, match=r"read 13 tokens.* to at most 12$"):
        model.encode(*(torch.ones(2, 1, 13, dtype=torch.long)))
