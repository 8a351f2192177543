from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from layalign.comparison.cells import Grid
from layalign.errors import ConfigError
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
    for cell in grid(recipe, f"comparison.equal={kind}").cells:
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
        (["layalign"], ["comparison.shares={}"], "set comparison.shares.translation"),
        (["layalign"], ["comparison.budget=1"], "leaves none for translation"),
        (["layalign"], ["comparison.equal=fun"], "expected one of examples, time, flops"),
    ],
)
def test_what_cannot_be_compared(recipe: Path, methods, overrides, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        grid(recipe, *overrides, methods=methods)
