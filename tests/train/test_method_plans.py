"""What every method makes of a recipe, before anything is run."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from layalign.errors import ConfigError
from layalign.train.methods import METHODS, plan_method
from layalign.train.recipe import Recipe, load_recipe
from layalign.train.run import run_recipe
from layalign.train.summary import RunSummary
from method_recipes import Values, recipe_values, write_examples


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Values]:
    """The recipe as plain values, with data and without models."""
    write_examples(tmp_path)
    return partial(recipe_values, tmp_path, tmp_path)


def run(values: Values, **options: Any) -> RunSummary:
    return run_recipe(Recipe.from_dict(values), **options)


def test_settings_of_the_language_model_come_from_its_fine_tune(
    make: Callable[..., Values],
) -> None:
    values = make("multilingual_lora")
    values["stage"]["finetune"] |= {"embedding_noise": 5, "betas": [0.7, 0.9]}
    values["stage"]["task"] |= {"text_input": False, "prompt_template": "=", "max_updates": 7}
    values["methods"] = {
        "multilingual_lora": ["stage.task.lora_rank=2", "evaluation.batch_size=3"],
        "base": ["seed=8"],
    }
    plan = plan_method(Recipe.from_dict(values))
    task = plan.configs["task"]
    assert (task.lr, task.batch_size, task.embedding_noise) == (2e-2, 2, 5)
    assert task.betas == (0.7, 0.9)
    assert (task.max_updates, task.eval_every, task.lora_rank) == (7, 2, 2)
    assert (task.gate_lr, task.text_input) == (None, True)
    assert "{question}" in task.prompt_template  # type: ignore[operator]
    assert plan.recipe.evaluation.batch_size == 3
    assert plan.recipe.seed == 0
    del values["methods"], values["stage"]["finetune"]["embedding_noise"]
    assert plan_method(Recipe.from_dict(values)).configs["task"].lora_rank == 8
    values["stage"]["finetune"]["lora_rank"] = 4
    assert plan_method(Recipe.from_dict(values)).configs["task"].lora_rank == 4
    values["method"] = "multilingual_sft"
    configs = plan_method(Recipe.from_dict(values)).configs
    assert (configs["finetune"].lora_rank, configs["task"].lora_rank) == (4, None)
    del values["stage"]["finetune"]
    assert plan_method(Recipe.from_dict(values)).configs["task"].lr == 1e-2


def test_the_documentation_has_every_method_and_its_recipe_serves_them(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "methods.md").read_text("utf-8")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(page.partition("```yaml\n")[2].partition("```")[0], "utf-8")
    for method in METHODS:
        assert f"| `{method}` |" in page
        plan_method(load_recipe(recipe, [f"method={method}"]))
    plan = plan_method(load_recipe(recipe, ["method=translate_test"]))
    assert list(plan.configs) == ["finetune"]  # its translator is named in its changes


def test_planning_leaves_the_recipe_alone(make: Callable[..., Values]) -> None:
    for method in METHODS:
        recipe = Recipe.from_dict(make(method))
        before = recipe.to_dict()
        assert plan_method(recipe) == plan_method(recipe)
        assert recipe.to_dict() == before
        assert Recipe.from_dict(before) == recipe


def test_layalign_is_the_recipe_itself(make: Callable[..., Values]) -> None:
    recipe = Recipe.from_dict(make())
    plan = plan_method(recipe)
    assert plan.recipe == recipe
    assert list(plan.configs.items()) == [
        (name, getattr(recipe.stage, name)) for name in ("finetune", "translation", "task")
    ]


def test_text_that_langbridge_and_mindmerger_read(make: Callable[..., Values]) -> None:
    values = make("langbridge")
    values["model"] |= {"encoder_layers": [1], "aligner": "mlp"}
    values["stage"]["task"] |= {"text_dropout": 0.5}
    plan = plan_method(Recipe.from_dict(values))
    assert list(plan.composite) == ["task"]
    assert not plan.composite["task"].text_input
    assert plan.recipe.model.encoder_layers is None
    values["method"] = "mindmerger"
    values["stage"]["task"] = {"text_input": False}
    plan = plan_method(Recipe.from_dict(values))
    assert list(plan.composite) == ["translation", "task"]
    assert plan.composite["task"].text_input
    assert plan.recipe.model.aligner == "none"
    values["stage"]["task"] = None  # as an ablation
    assert list(plan_method(Recipe.from_dict(values)).composite) == ["translation"]


@pytest.mark.parametrize(
    ("method", "stage", "message"),
    [
        ("qalign", {"task": {}}, r"method qalign: stage\.translation is missing"),
        ("qalign", {"translation": {}}, r"stage\.finetune is missing, which this .*; add it"),
        ("multilingual_sft", {"finetune": {}}, r"stage\.task is missing"),
        ("langbridge", {"translation": {}}, r"stage\.task is missing"),
        ("mindmerger", {}, r"stage\.task is missing"),
        ("translate_test", {"finetune": {}}, r"stage\.translation .* name an evaluation\.trans"),
        ("layalign", {}, "no stage is given; add at least one of finetune, translation, task"),
        ("layaling", {"task": {}}, "unknown method 'layaling' in method; did you mean 'layalign'"),
        ("zzz", {"task": {}}, "unknown method 'zzz' in method; expected one of base, multilingual"),
    ],
)
def test_what_a_method_needs(
    method: str, stage: Values, message: str, make: Callable[..., Values]
) -> None:
    with pytest.raises(ConfigError, match=message):
        run(make(method, stage=stage))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mindmergr": []}, "unknown method 'mindmergr' in methods; did you mean 'mindmerger'"),
        ({"mindmerger": ["stage.task.lrr=1"]}, r"method mindmerger: unknown key 'stage.task.lrr'"),
        ({"mindmerger": ["method=base"]}, "method mindmerger: its changes set method; leave that"),
        ({"mindmerger": ["stage.task=3"]}, r"stage\.task is 3; expected a mapping"),
        ({"mindmerger": ["stage={}"]}, r"method mindmerger: stage\.task is missing"),
        ({"mindmerger": ["nonsense"]}, "method mindmerger: override 'nonsense' is not key=value"),
        ({"mindmerger": ["stage.task.lora_rank=2"]}, "the language model is frozen there"),
    ],
)
def test_wrong_changes(changes: Values, message: str, make: Callable[..., Values]) -> None:
    with pytest.raises(ConfigError, match=message):
        run(make("mindmerger", methods=changes))


@pytest.mark.parametrize(
    ("method", "change", "text"),
    [
        ("layalign", "stage.finetune.prompt_template='A:'", "A:"),
        ("base", "stage.finetune.text_input=false", ""),
        ("qalign", "stage.translation.prompt_template=''", ""),
    ],
)
def test_a_language_model_alone_has_to_see_the_question(
    method: str, change: str, text: str, make: Callable[..., Values]
) -> None:
    stage = change.split(".")[1]
    message = f"method {method}: .* reads in stage.{stage} is '{text}'; expected one with .question"
    with pytest.raises(ConfigError, match=message):
        run(make(method, methods={method: [change]}))


def test_a_method_that_brings_a_stage_of_its_own(make: Callable[..., Values]) -> None:
    values = make("qalign")
    source = {**values["data"]["task"]["train"][0], "languages": ["en"]}
    del values["stage"]["finetune"], values["data"]["finetune"]
    values["methods"] = {"qalign": ["stage.finetune={max_updates: 1}"]}
    with pytest.raises(ConfigError, match=r"stage\.finetune has no data; add data\.finetune"):
        plan_method(Recipe.from_dict(values))
    values["methods"]["qalign"].append(f"data.finetune.train={json.dumps([source])}")
    assert run(values, dry_run=True).stages["finetune"]["updates"] == 1


def test_a_stage_that_is_left_out_stays_out(make: Callable[..., Values]) -> None:
    values = make("multilingual_lora", methods={"multilingual_lora": ["stage.finetune.lr=1"]})
    assert plan_method(Recipe.from_dict(values)).language_model["finetune"].lr == 1
    values["stage"]["finetune"] = None
    with pytest.raises(
        ConfigError, match=r"stage\.finetune\.lr is set, but stage\.finetune is not"
    ):
        plan_method(Recipe.from_dict(values))


def test_an_adapter_alone_is_alone(make: Callable[..., Values]) -> None:
    values = make("mindmerger")
    values["model"] |= {"lora": {"rank": 2}, "gate": "head", "aligner_width": 8}
    for method in ("mindmerger", "langbridge", "translate_test", "layalign"):
        model = plan_method(Recipe.from_dict({**values, "method": method})).recipe.model
        assert (model.lora is None) == (method != "layalign")
