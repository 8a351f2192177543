from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from layalign.comparison.budget import LIMIT_OF
from layalign.comparison.cells import Grid
from layalign.errors import ConfigError
from layalign.train.methods import METHODS as METHOD_TABLE
from layalign.train.methods import plan_method
from layalign.train.recipe import differing_keys, load_recipe

METHODS = ("base", "mindmerger", "layalign")


def grid(recipe: Path, *overrides: str, methods=METHODS, seeds=(1, 2)) -> Grid:
    return Grid(recipe, methods, seeds, overrides, recipe.parent / "out")


def test_one_cell_for_each_method_and_seed(recipe: Path) -> None:
    cells = grid(recipe).cells
    assert [(cell.method, cell.seed) for cell in cells] == [
        (method, seed) for seed in (1, 2) for method in METHODS
    ]
    assert len({cell.folder for cell in cells}) == 6


def test_all_begin_with_the_fine_tune_of_their_seed(recipe: Path) -> None:
    for cell in grid(recipe).cells:
        if cell.method == "base":
            assert cell.after is None
            assert cell.recipe.stage.finetune is not None
            continue
        assert cell.after is not None
        assert (cell.after.method, cell.after.seed) == ("base", cell.seed)
        assert cell.recipe.stage.finetune is None
        assert cell.recipe.model.language_model == f"{cell.after.folder}/language_model"
        assert not cell.recipe.evaluation.bare


def test_a_fine_tune_that_nobody_asked_for_is_not_shown(recipe: Path) -> None:
    cells = grid(recipe, methods=["layalign"], seeds=[1]).cells
    assert [(cell.method, cell.shown) for cell in cells] == [("base", False), ("layalign", True)]


def test_without_a_fine_tune_nothing_is_shared(recipe: Path) -> None:
    cells = grid(recipe, "stage.finetune=null", methods=["mindmerger", "layalign"]).cells
    assert all(cell.after is None for cell in cells)
    assert {cell.method for cell in cells} == {"mindmerger", "layalign"}


@pytest.mark.parametrize(
    ("kind", "limit"),
    [("examples", "max_examples"), ("time", "max_minutes"), ("flops", "max_flops")],
)
def test_every_method_has_the_same_budget(recipe: Path, kind: str, limit: str) -> None:
    chosen = (f"comparison.equal={kind}", "comparison.budget=10")
    for cell in grid(recipe, *chosen).cells:
        stages = plan_method(cell.recipe).composite
        if stages:
            assert sum(getattr(stage, limit) for stage in stages.values()) == 10
        for stage in stages.values():
            assert stage.epochs is None


def test_data_and_all_else_are_the_same(recipe: Path) -> None:
    ours = grid(recipe, methods=["mindmerger", "layalign"], seeds=[1]).cells[1:]
    changed = differing_keys(ours[0].recipe, ours[1].recipe)
    assert {key.split(".")[0] for key in changed} == {"method", "methods"}


def test_changes_of_the_recipe_give_way_to_those_of_the_user(recipe: Path) -> None:
    values = yaml.safe_load(recipe.read_text())
    values["comparison"]["changes"] = ["stage.finetune.lr=0.5", "evaluation.max_new_tokens=3"]
    recipe.write_text(yaml.safe_dump(values))
    base = grid(recipe, "stage.finetune.lr=0.25").cells[0].recipe
    assert base.stage.finetune is not None
    assert base.stage.finetune.lr == 0.25
    assert base.evaluation.max_new_tokens == 3


def test_a_cell_is_a_recipe_that_train_takes(recipe: Path) -> None:
    for cell in grid(recipe).cells:
        cell.claim()
        assert load_recipe(cell.file) == cell.recipe


def test_other_settings_are_refused(recipe: Path) -> None:
    grid(recipe).cells[0].claim()
    grid(recipe).cells[0].claim()
    recipe.parent.joinpath("link").symlink_to(recipe.parent)
    for cell in Grid(recipe, METHODS, (1, 2), (), recipe.parent / "link" / "out").cells:
        cell.claim()
    with pytest.raises(ConfigError, match=r"other settings, which differ in stage\.finetune\.lr"):
        grid(recipe, "stage.finetune.lr=0.25").cells[0].claim()


@pytest.mark.parametrize(
    ("methods", "overrides", "message"),
    [
        (["mindmergr", "layalign"], [], "did you mean 'mindmerger'"),
        (["base"], [], "reference 'layalign' is not compared"),
        (["layalign"], ["data.evaluation=[]"], "nothing to compare on"),
        (["layalign"], ["evaluation.metric=translation"], "right or wrong"),
        (["layalign"], ["comparison.budget=null"], "equal examples of how much"),
        (["layalign"], ["comparison.budget=0"], "more than 0"),
        (["layalign"], ["comparison.equal=flops"], "equal flops of how much"),
        (
            ["layalign"],
            ['methods={layalign: ["stage.finetune.lr=1"]}'],
            r"stage\.finetune\.lr is set, but",
        ),
        (["layalign"], ["comparison.shares={}"], "set comparison.shares.translation"),
        (["layalign"], ["comparison.budget=1"], "leaves none for translation"),
        (["layalign"], ["comparison.equal=fun"], "expected one of examples, time, flops"),
    ],
)
def test_what_cannot_be_compared(recipe: Path, methods, overrides, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        grid(recipe, *overrides, methods=methods)


@pytest.mark.parametrize("method", [name for name in METHOD_TABLE if name != "base"])
def test_the_shared_fine_tune_changes_nothing_but_the_beginning(recipe: Path, method: str) -> None:
    """Every stage is trained as it would be after a fine-tune of the run's own."""
    made = grid(recipe, methods=[method, "layalign"], seeds=[3]).cells
    cell = next(cell for cell in made if cell.method == method)
    alone = plan_method(load_recipe(recipe, [f"method={method}", "seed=3"])).configs
    ours = plan_method(cell.recipe).configs
    assert list(ours) == [name for name in alone if name != "finetune" or cell.after is None]
    limits = {*LIMIT_OF.values(), "epochs", "max_updates", "max_tokens"}
    for name, config in ours.items():
        left, right = config.to_dict(), alone[name].to_dict()
        changed = {key for key in left if left[key] != right[key]}
        assert changed <= (set() if name == "finetune" else limits)
    total = sum(c.max_examples or 0 for n, c in ours.items() if n != "finetune")
    assert total == 10


def test_what_is_fastest_is_settled_once(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = iter([("bfloat16", "eager"), ("float32", None)])
    monkeypatch.setattr("layalign.comparison.cells.fastest_arithmetic", lambda device: next(found))
    first = grid(recipe, "dtype=fastest").cells
    first[-1].claim()
    second = grid(recipe, "dtype=fastest").cells
    for cell in (*first, *second):
        assert (cell.recipe.dtype, cell.recipe.model.attn_implementation) == ("bfloat16", "eager")


def test_the_quick_start_can_be_compared(tmp_path: Path) -> None:
    path = Path(__file__).parents[2] / "recipes" / "quickstart.yaml"
    methods = ("base", "multilingual_lora", "mindmerger", "layalign")
    made = Grid(path, methods, (1, 2), (), tmp_path)
    assert made.budget == 800
    plans = {cell.method: plan_method(cell.recipe).configs for cell in made.cells[:4]}
    read = {m: {n: c.max_examples for n, c in stages.items()} for m, stages in plans.items()}
    assert read == {
        "base": {"finetune": 450},
        "multilingual_lora": {"task": 800},
        "mindmerger": {"translation": 80, "task": 720},
        "layalign": {"translation": 80, "task": 720},
    }
