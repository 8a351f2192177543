"""Every switch of LayAlign in training: a few steps change exactly what they should."""

import json
from dataclasses import replace

import pytest
import torch

from factories import (
    SWITCHES,
    make_model,
    make_processor,
    save_backbones,
)
from layalign.errors import ConfigError
from layalign.eval.loading import make_systems
from layalign.model import LayAlignModel
from layalign.model.checkpoint import load_trained, read_weights
from layalign.model.parts import part_of
from layalign.train.batches import StageDataset
from layalign.train.optimisation import parameter_groups
from layalign.train.recipe import ModelRecipe, Recipe
from layalign.train.run import run_recipe
from layalign.train.stages import Stage, StageConfig
from layalign.train.trainer import processor_for, train_stage

CONFIG = StageConfig(lr=1e-2, gate_lr=5e-2, batch_size=4, epochs=None, max_updates=2)
every_switch = pytest.mark.parametrize("fields", SWITCHES.values(), ids=SWITCHES)


def snapshot(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def changed(model, before):
    return {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}


@every_switch
def test_a_few_steps_change_exactly_the_trained_parameters(fields, processor, examples, tmp_path):
    model = make_model(gate=0.0, **fields)
    before = snapshot(model)
    result = train_stage(model, processor, examples, CONFIG, output_dir=tmp_path)
    assert result.updates == 2
    assert changed(model, before) == set(model.trainable_names())
    again = make_model(gate=0.0, **fields)
    load_trained(again, read_weights(tmp_path / "checkpoint-2"), tmp_path)
    assert not changed(again, snapshot(model))


@every_switch
def test_gates_have_their_own_rate_and_no_decay(fields):
    model = make_model(**fields)
    groups = parameter_groups(model, model.trainable_names(), CONFIG)
    names = {id(p): name for name, p in model.named_parameters()}
    rates = {names[id(p)]: (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]}
    assert set(rates) == set(model.trainable_names())
    for name, found in rates.items():
        is_gate = name in ("gates", "gate_map")
        assert found == ((5e-2, 0.0) if is_gate else (1e-2, CONFIG.weight_decay))
        assert is_gate == (part_of(name) == "gates")


def steps(config, processor, examples, folder):
    model = make_model(gate=0.0)
    before = snapshot(model)
    train_stage(model, processor, examples, config, output_dir=folder)
    return changed(model, before)


def test_text_input_in_the_translation_stage(processor, examples, tmp_path):
    config = StageConfig.paper(Stage.TRANSLATION, batch_size=4, epochs=None, max_updates=2)
    with_text = replace(config, prompt_template="{question}\n")
    prompts = []
    for one in (config, with_text, replace(with_text, text_input=False)):
        feature = StageDataset(examples, processor_for(processor, one))[3]
        prompts.append(
            [i for i, y in zip(feature["input_ids"], feature["labels"], strict=True) if y == -100]
        )
    question = processor.tokenizer(examples[3].text, add_special_tokens=False)["input_ids"]
    assert prompts == [[], question, []]
    trained = steps(with_text, processor, examples, tmp_path)
    assert trained == set(make_model().trainable_names())


def test_text_dropout(processor, examples, tmp_path):
    config = replace(CONFIG, text_dropout=0.5)
    trained = steps(config, processor, examples, tmp_path)
    assert trained == set(make_model().trainable_names())


# Recipes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"encoder_layers": "most"}, "model: encoder_layers is 'most'; expected last, mean"),
        ({"adapter": "wide"}, "model.adapter is 'wide'; expected one of mlp, linear, none"),
        ({"gate": "token"}, "model.gate is 'token'; expected one of scalar, head, hidden"),
        ({"adapter": "none", "aligner": "none"}, "model: adapter and aligner are both none"),
        ({"adapter": "none", "init": "lexical"}, "model: init is lexical, .* but adapter is none"),
        ({"lora": {"rank": 0}}, "model.lora: rank is 0"),
        ({"lora": {"alpha": 3}}, "unknown key 'model.lora.alpha'"),
        ({"encoder_layers": 8}, "model.encoder_layers is 8; expected a list or text"),
        ({"lora": 8}, "model.lora is 8; expected a mapping"),
    ],
)
def test_wrong_switches(values, message):
    recipe = {
        "output_dir": "out",
        "model": {"encoder": "enc", "language_model": "llm", **values},
        "data": {"task": {"train": [{"path": "a.jsonl"}]}},
        "stage": {"task": {}},
    }
    with pytest.raises(ConfigError, match=message):
        Recipe.from_dict(recipe)


def test_an_unused_switch_is_not_passed_on():
    fields = ModelRecipe(language_model="llm").config_fields()
    assert "lora" not in fields
    assert "encoder_layers" not in fields


@pytest.fixture(scope="module")
def backbones(tmp_path_factory):
    return save_backbones(tmp_path_factory.mktemp("backbones"))


@pytest.fixture
def values(backbones, examples, tmp_path):
    """A recipe with many switches, without development set."""
    data = tmp_path / "data.jsonl"
    rows = ({"text": e.text, "language": "sw", "target": e.target, "answer": "3"} for e in examples)
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = {"path": str(data)}
    stage = {"lr": 1e-2, "batch_size": 8, "max_updates": 2}
    return {
        "output_dir": str(tmp_path / "out"),
        "model": {
            **{**backbones, "init": "lexical", "lexical": {"updates": 3, "batch_size": 8}},
            **{"adapter": "linear", "gate": "hidden", "aligner_width": 20},
            **{"encoder_layers": "first:2", "lora": {"rank": 2, "dora": True}},
        },
        "processor": {"prompt_template": "{question} ="},
        "data": {name: {"train": [source]} for name in ("translation", "task")}
        | {"evaluation": [{**source, "limit": 2}], "on_leak": "warn"},
        "stage": {"translation": stage, "task": stage},
        "evaluation": {"max_new_tokens": 3},
    }


def test_a_recipe_with_switches(values, tmp_path):
    planned = run_recipe(Recipe.from_dict(values), dry_run=True).plan["parameters"]
    summary = run_recipe(Recipe.from_dict(values))
    assert list(summary.stages) == ["lexical", "translation", "task"]
    model = LayAlignModel.from_pretrained(tmp_path / "out")
    assert model.config.encoder_layers == [0, 1]
    assert model.config.lora == {"rank": 2, "dora": True, "targets": None}
    assert model.gate_map.abs().max() > 0
    counted = sum(model.get_parameter(name).numel() for name in model.trainable_names())
    assert (
        planned["trained"]
        == counted
        == sum(planned[part] for part in ("adapter", "aligner", "gates", "lora"))
    )


@pytest.mark.parametrize("left", ["translation", "task"])
def test_a_stage_is_left_out(left, values, tmp_path):
    del values["stage"][left], values["model"]["lora"]
    other = "task" if left == "translation" else "translation"
    summary = run_recipe(Recipe.from_dict(values))
    assert list(summary.stages) == ["lexical", other]
    assert summary.stages[other]["updates"] == 2
    assert LayAlignModel.from_pretrained(tmp_path / "out").config.gate == "hidden"


def test_the_bare_model_is_measured_without_the_lora(examples):
    model, processor = make_model(lora={"rank": 2, "dora": True}), make_processor()
    bare, plain = (
        make_systems(one, processor, max_new_tokens=5)["bare LLM"].answer(examples[:4])
        for one in (model, make_model())
    )
    assert bare == plain
