"""Sizes of backbones as a user writes them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from factories import ENCODERS, LANGUAGE_MODELS
from layalign.embedded.registry import MODELS
from layalign.errors import BackboneError, ConfigError
from layalign.model.backbones import outline_encoder, outline_language_model
from layalign.model.sizes import backbone_config

NUMBERS = "layers=2,width=32,heads=4,vocab=99"


@pytest.mark.parametrize("family", ENCODERS)
def test_numbers_of_every_encoder(family: str) -> None:
    encoder = outline_encoder(backbone_config(f"{family}:{NUMBERS}", "encoder"))
    blocks = getattr(encoder.config, "encoder_layers", None) or encoder.config.num_hidden_layers
    assert (blocks, encoder.config.hidden_size, encoder.config.vocab_size) == (2, 32, 99)
    assert (99, 32) in [parameter.shape for parameter in encoder.parameters()]


@pytest.mark.parametrize("family", LANGUAGE_MODELS)
def test_numbers_of_every_language_model(family: str) -> None:
    config = backbone_config(f"{family}:{NUMBERS},pad_token_id=0", "language model")
    assert outline_language_model(config).get_input_embeddings().weight.shape == (99, 32)
    assert (config.num_hidden_layers, config.num_attention_heads) == (2, 4)


def test_what_numbers_imply_and_what_they_say() -> None:
    implied = backbone_config(f"llama:{NUMBERS}", "language model")
    assert (implied.num_key_value_heads, implied.head_dim, implied.intermediate_size) == (4, 8, 128)
    said = backbone_config(f"llama:{NUMBERS},kv_heads=2,head_dim=16,ff=48", "language model")
    assert (said.num_key_value_heads, said.head_dim, said.intermediate_size) == (2, 16, 48)
    own = backbone_config(f"llama:{NUMBERS},tie_word_embeddings=true", "language model")
    assert own.tie_word_embeddings is True


@pytest.mark.parametrize("name", MODELS)
def test_an_embedded_model_is_not_fetched(name: str, tmp_path: Path) -> None:
    role = "encoder" if MODELS[name].role == "encoder" else "language model"
    config = backbone_config(name, role)
    outline = (outline_encoder if role == "encoder" else outline_language_model)(config)
    assert sum(p.numel() for p in outline.parameters()) == MODELS[name].facts.n_parameters


def test_published_names_and_files(tmp_path: Path) -> None:
    llama = outline_language_model(backbone_config("meta-llama/Llama-2-7b-hf", "language model"))
    assert sum(p.numel() for p in llama.parameters()) == 6_738_415_616  # of its model card
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"model_type": "llama", "hidden_size": 64}))
    for place in (file, tmp_path):
        assert backbone_config(str(place), "language model").hidden_size == 64
    file.write_text(json.dumps({"model_type": "llama", "hidden_size": 48}))
    with pytest.raises(BackboneError, match=r"hidden size \(48\) is not a multiple"):
        backbone_config(str(tmp_path), "language model")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lama:layers=2", "no family 'lama'; did you mean 'llama'"),
        ("llama:layers=2", "lacks width, heads; expected e.g. llama:"),
        ("llama:layers=2,width=30,heads=4", "width 30 is no multiple of 4 heads"),
        (f"llama:{NUMBERS},layer=3", "has no 'layer'; did you mean 'layers'"),
        (f"llama:{NUMBERS},", "'' is no setting"),
        (f"llama:{NUMBERS},ff=[", "the value of ff cannot be read"),
        ("llama:layers=0,width=32,heads=4", "layers is 0; expected a whole number above 0"),
        (f"gpt_neox:{NUMBERS},kv_heads=2", "gpt_neox has no 'kv_heads'"),
        (f"llama:{NUMBERS},hidden_act=3", "is no valid llama: "),
    ],
)
def test_wrong_numbers(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        backbone_config(text, "language model")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_such_place(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match="cannot load the encoder"):
        backbone_config(str(tmp_path / "none"), "encoder")
