"""LayAlign's own switches: what each of them makes of the model, and what it must not change."""

from __future__ import annotations

from itertools import chain, product
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor
from transformers import LlamaConfig, MT5Config, PreTrainedModel

from factories import (
    SWITCHES,
    make_batch,
    make_encoder,
    make_language_model,
    make_model,
    make_processor,
)
from layalign.errors import CheckpointError, ConfigError
from layalign.model import LayAlignConfig, LayAlignModel
from layalign.model.backbones import outline_encoder, outline_language_model
from layalign.model.checkpoint import describe
from layalign.model.lexical import lexical_start
from layalign.model.parts import count_by_part
from layalign.model.published import to_published
from layalign.model.switches import encoder_layers

every_switch = pytest.mark.parametrize("fields", SWITCHES.values(), ids=SWITCHES)
CLOSE = {"atol": 5e-5, "rtol": 1e-4}  # as in test_families
GREEDY = {"max_new_tokens": 4, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}


def make_config(**fields: Any) -> LayAlignConfig:
    return LayAlignConfig(make_encoder().config, make_language_model().config, **fields)


def logits(model: LayAlignModel) -> Tensor:
    with torch.no_grad():
        return model(**make_batch(targets=False)).logits


# Choices -------------------------------------------------------------------------------------


@given(count=st.integers(1, 40), data=st.data())
def test_words_choose_neighbours_among_the_default_states(count: int, data: st.DataObject) -> None:
    size = data.draw(st.integers(1, count))
    chosen = {which: encoder_layers(f"{which}:{size}", count) for which in WHICH}
    for layers in chosen.values():
        assert layers == list(range(layers[0], layers[0] + size))
    assert chosen["first"][0] == 0
    assert chosen["last"][-1] == count - 1
    before, after = chosen["middle"][0], count - 1 - chosen["middle"][-1]
    assert after - before in (0, 1)
    assert encoder_layers("last", count) == encoder_layers("last:1", count)
    assert encoder_layers("mean", count) == list(range(count))


WHICH = ("first", "middle", "last")


def test_the_papers_thirds_are_all_states() -> None:
    thirds = (encoder_layers(f"{which}:8", 24) for which in WHICH)
    assert list(chain.from_iterable(thirds)) == list(range(24))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"encoder_layers": "most"}, "encoder_layers is 'most'; expected last, mean, first:K"),
        ({"encoder_layers": "first:4"}, "'first:4'; expected K from 1 to 3"),
        ({"encoder_layers": "last:0"}, "'last:0'; expected K from 1 to 3"),
        ({"adapter": "wide"}, "adapter is 'wide'; expected one of mlp, linear, none"),
        ({"gate": "token"}, "gate is 'token'; expected one of scalar, head, hidden"),
        ({"adapter": "none", "aligner": "none"}, "adapter and aligner are both none"),
        ({"adapter": "linear", "adapter_width": 9}, "the adapter linear has no hidden layer"),
        ({"aligner_width": 0}, "aligner_width is 0; expected at least 1"),
        ({"aligner": "none", "gate": "head"}, "gate is 'head', but without an aligner"),
        ({"aligner": "none", "aligner_width": 9}, "aligner_width is 9, but without an aligner"),
        ({"aligner": "none", "encoder_layers": "last"}, "encoder_layers is 'last', but without"),
        ({"lora": {"rank": 0}}, "lora: rank is 0; expected at least 1"),
        ({"lora": {"targets": []}}, "lora: targets is empty"),
        ({"lora": {"alpha": 1}}, "unknown key 'lora.alpha'"),
    ],
)
def test_wrong_choices(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_config(**fields)


@every_switch
def test_configuration_round_trip(fields: dict[str, Any], tmp_path: Path) -> None:
    model = make_model(**fields)
    model.config.save_pretrained(tmp_path)
    again = LayAlignConfig.from_pretrained(tmp_path)
    assert LayAlignConfig.from_dict(model.config.to_dict()).to_dict() == model.config.to_dict()
    new = ("encoder_layers", "encoder_mean", "aligner_width", "adapter", "gate", "lora")
    assert all(getattr(again, name) == getattr(model.config, name) for name in new)


def test_a_configuration_from_before_the_switches_is_the_published_form() -> None:
    values = make_config().to_dict()
    old = {k: v for k, v in values.items() if k not in ("encoder_mean", "aligner_width", "adapter")}
    old = {k: v for k, v in old.items() if k not in ("gate", "lora")}
    assert LayAlignConfig.from_dict(old).to_dict() == values


# The whole model -----------------------------------------------------------------------------


def expected_names(model: LayAlignModel) -> set[str]:
    """Parts that a configuration asks for, down to the modules that hold the parameters."""
    config = model.config
    names = set()
    if config.adapter != "none":
        names |= {"adapter.linear1", "adapter.boundary"}
        names |= {"adapter.linear2"} if config.adapter == "mlp" else set()
    if config.aligner != "none":
        names |= {"aligner.mix", "aligner.project", "gates"}
        names |= {"aligner.refine"} if config.aligner == "mlp" else set()
        names |= {"aligner.widen"} if config.aligner_width else set()
        names |= {"gate_map"} if config.gate == "hidden" else set()
    for target in (config.lora or {}).get("targets") or (LINEAR if config.lora else ()):
        names |= {f"{target}.{part}" for part in ("lora_A", "lora_B")}
        names |= {f"{target}.lora_magnitude_vector"} if config.lora["dora"] else set()
    return names


LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def short(name: str) -> str:
    name = name.removesuffix(".weight").removesuffix(".bias").removesuffix(".default")
    return ".".join(name.split(".")[-2:])


COMBINATIONS = [
    {"adapter": adapter, "aligner": aligner, "gate_kind": gate, "lora": lora}
    for adapter, aligner, gate, lora in product(
        ("mlp", "linear", "none"),
        ("linear", "mlp", "none"),
        ("scalar", "head", "hidden"),
        (None, {"rank": 1}, {"rank": 1, "dora": True, "targets": ["k_proj"]}),
    )
    if (adapter, aligner) != ("none", "none") and (aligner != "none" or gate == "scalar")
]


def test_all_combinations_begin_as_the_bare_model_and_train_what_they_name() -> None:
    batch = make_batch(targets=False)
    bare = make_language_model()
    for fields in COMBINATIONS:
        model = make_model(gate=0.0, **fields)
        assert {short(name) for name in model.trainable_names()} == expected_names(model), fields
        assert set(model.trainable_names()) == {
            name for name, p in model.named_parameters() if p.requires_grad
        }
        with torch.no_grad():
            given = model.assemble(**batch)
            mask = given["attention_mask"]
            positions = (mask.cumsum(-1) - 1).clamp(min=0)
            expected = bare(
                inputs_embeds=given["inputs_embeds"], attention_mask=mask, position_ids=positions
            ).logits
            found = model(**batch).logits
        torch.testing.assert_close(found[mask.bool()], expected[mask.bool()], **CLOSE)


@every_switch
def test_cached_generation_equals_uncached_and_one_by_one(fields: dict[str, Any]) -> None:
    model, batch = make_model(**fields), make_batch(targets=False)
    cached = model.generate(**batch, use_cache=True, **GREEDY)
    assert torch.equal(cached, model.generate(**batch, use_cache=False, **GREEDY))
    beams = model.generate(**batch, num_beams=2, **GREEDY)
    for row in range(3):
        one = {key: value[row : row + 1] for key, value in batch.items()}
        assert torch.equal(model.generate(**one, **GREEDY), cached[row : row + 1])
        assert torch.equal(model.generate(**one, num_beams=2, **GREEDY), beams[row : row + 1])


@every_switch
def test_save_and_load(fields: dict[str, Any], tmp_path: Path) -> None:
    model = make_model(**fields)
    model.save_pretrained(tmp_path, include_backbones=True)
    assert sorted(load_file(tmp_path / "model.safetensors")) == list(model.trainable_names())
    again = LayAlignModel.from_pretrained(tmp_path)
    assert again.trainable_names() == model.trainable_names()
    assert torch.equal(logits(again), logits(model))
    facts = describe(tmp_path)
    assert sum(facts["trained_parameters"].values()) == sum(
        model.get_parameter(name).numel() for name in model.trainable_names()
    )
    assert ("lora" in facts["trained_parameters"]) == (model.config.lora is not None)
    assert facts["gate"] == model.config.gate


@pytest.mark.parametrize("name", ["gate head", "gate hidden", "lora", "dora", "everything"])
def test_gradient_checkpointing_changes_nothing(name: str) -> None:
    fields, found = SWITCHES[name], []
    for checkpointing in (False, True):
        model = make_model(**fields)
        if checkpointing:
            llm = model.language_model  # transformers renamed the method and warns of the old name
            new = getattr(llm, "activation_checkpointing_enable", None)
            (new or llm.gradient_checkpointing_enable)({"use_reentrant": False})
        model.train()(**make_batch()).loss.backward()
        found.append([p.grad for p in model.parameters() if p.requires_grad])
    torch.testing.assert_close(*found)


@every_switch
def test_only_the_published_form_goes_into_the_authors_layout(
    fields: dict[str, Any], tmp_path: Path
) -> None:
    make_model(**fields).save_pretrained(tmp_path / "ours")
    fits = set(fields) <= {"aligner", "encoder_layers"}
    if fits and fields.get("aligner") != "none" and fields.get("encoder_layers") != "mean":
        to_published(tmp_path / "ours", tmp_path / "theirs.safetensors")
        return
    with pytest.raises(CheckpointError, match="and the authors' layout"):
        to_published(tmp_path / "ours", tmp_path / "theirs.safetensors")


# Without an adapter --------------------------------------------------------------------------


def test_without_an_adapter_there_are_no_soft_tokens_and_no_boundary() -> None:
    model, batch = make_model(adapter="none"), make_batch(targets=False)
    with torch.no_grad():
        given = model.assemble(**batch)
    assert given["attention_mask"].sum(1).tolist() == [1 + n for n in (6, 4, 7)]  # BOS, text
    ids = {key: value for key, value in batch.items() if key.startswith("encoder")}
    assert model.generate(**ids, **GREEDY).shape == (3, 4)


def test_something_must_come_before_the_target() -> None:
    model, batch = make_model(adapter="none", bos_token_id=None), make_batch()
    assert model(**batch).loss.isfinite()
    batch["labels"] = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    with pytest.raises(ConfigError, match="nothing to begin with; give it a prompt"):
        model(**batch)
    ids = {key: value for key, value in batch.items() if key.startswith("encoder")}
    with pytest.raises(ConfigError, match="nothing to begin with"):
        model.generate(**ids, **GREEDY)


def test_lexical_start_fits_any_adapter() -> None:
    texts = ["how many apples does anna have left", "she buys three eggs"]
    settings = {"updates": 60, "batch_size": 16, "lr": 1e-2}
    model = make_model(adapter="linear")
    boundary = model.adapter.boundary.clone()
    assert lexical_start(model, make_processor(), texts, **settings) < 0.5
    assert torch.equal(model.adapter.boundary, boundary)
    with pytest.raises(ConfigError, match="adapter is none; use init: default"):
        lexical_start(make_model(adapter="none"), make_processor(), texts, **settings)


# The paper's counts --------------------------------------------------------------------------


@pytest.fixture
def paper_pair() -> tuple[PreTrainedModel, PreTrainedModel]:
    """The encoder half of mT5-xl and Llama 2 7B, sizes alone."""
    encoder = MT5Config(d_model=2048, d_ff=5120, d_kv=64, num_heads=32, num_layers=24)
    llm = LlamaConfig(hidden_size=4096, intermediate_size=11008, num_hidden_layers=32)
    return outline_encoder(encoder), outline_language_model(llm)


@pytest.mark.parametrize(
    ("fields", "millions"),
    [
        ({}, {"adapter": 25.18, "aligner": 8.39, "trained": 33.57}),  # section 4 and appendix A.4
        ({"aligner_width": 2048}, {"aligner": 12.59}),  # the larger aligner
        ({"aligner": "none"}, {"trained": 25.18}),  # MindMerger's form
        ({"adapter": "none"}, {"trained": 8.39}),
        # From here on nothing that is printed: a linear adapter with its boundary, ...
        ({"adapter": "linear", "aligner": "none"}, {"trained": 8.40}),
        ({"encoder_layers": "first:8"}, {"aligner": 8.39}),
        ({"gate": "hidden"}, {"gates": 0.13, "trained": 33.70}),
        # ... and a rank of 8 on 32 layers' queries, keys and values.
        ({"lora": {"targets": ["q_proj", "k_proj", "v_proj"]}}, {"lora": 6.29, "trained": 39.86}),
    ],
)
def test_parameters_in_the_papers_sizes(
    fields: dict[str, Any],
    millions: dict[str, float],
    paper_pair: tuple[PreTrainedModel, PreTrainedModel],
) -> None:
    model = LayAlignModel.from_backbones(*paper_pair, **fields)
    counts = count_by_part((n, p) for n, p in model.named_parameters() if p.requires_grad)
    counts["trained"] = sum(counts.values())
    assert {name: round(counts[name] / 1e6, 2) for name in millions} == millions
