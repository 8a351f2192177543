"""The cells of a comparison: one run for each method and seed, as recipes."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from layalign.comparison.budget import limits, total_budget
from layalign.errors import ConfigError
from layalign.eval.run_folder import SUMMARY_NAME
from layalign.model.checkpoint import LANGUAGE_MODEL_FOLDER
from layalign.train.arithmetic import fastest_arithmetic
from layalign.train.comparing import ComparisonRecipe
from layalign.train.methods import METHODS, check_method, plan_method
from layalign.train.recipe import Recipe, differing_keys, load_recipe, save_recipe
from layalign.train.stages import StageConfig

FINETUNE = "finetune"
BASE = "base"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One run."""

    method: str
    seed: int
    recipe: Recipe

    shown: bool = True
    """Whether it stands in the table; a fine-tune that others begin with need not."""

    after: Cell | None = None
    """The run whose language model this one begins with."""

    @property
    def name(self) -> str:
        """For messages."""
        return self.recipe.output_dir

    @property
    def folder(self) -> Path:
        """Where the run goes; recipe and log are beside it."""
        return Path(self.recipe.output_dir)

    @property
    def file(self) -> Path:
        """Its recipe."""
        return self.folder.with_name(f"{self.folder.name}.yaml")

    @property
    def log(self) -> Path:
        """What it prints."""
        return self.folder.with_name(f"{self.folder.name}.log")

    @property
    def is_finished(self) -> bool:
        """Whether there is nothing left to do."""
        return (self.folder / SUMMARY_NAME).exists()

    def claim(self) -> None:
        """Leave the recipe beside the folder.

        Raises:
            ConfigError: The cell was begun with another recipe, or nothing can be written there.
        """
        if self.file.exists():
            changed = differing_keys(self.recipe, load_recipe(self.file))
            if self.after is not None:  # the same place may be written otherwise
                changed = [key for key in changed if key != "model.language_model"]
            if changed:
                raise ConfigError(
                    f"{self.folder} was begun with other settings, which differ in "
                    f"{', '.join(changed)}; set them back, or choose another output"
                )
            return
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            save_recipe(self.file, self.recipe)
        except OSError as error:
            raise ConfigError(
                f"cannot write to {self.file.parent} ({error.strerror}); choose another output"
            ) from error


class Grid:
    """All cells of one recipe.

    Args:
        path: The recipe.
        methods: Names, in the table's order.
        seeds: Of the runs.
        overrides: As for :func:`layalign.train.load_recipe`; they win over the recipe's
            ``comparison.changes``.
        output: Folder of the comparison.

    Attributes:
        settings: Of the comparison.
        budget: In all, for every method.
        cells: In the order in which they are run.

    Raises:
        ConfigError: A method is unknown or does not fit the recipe, the reference is not among
            them, or there is nothing to evaluate on.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        methods: Sequence[str],
        seeds: Sequence[int],
        overrides: Sequence[str],
        output: Path,
    ) -> None:
        """Make the recipes."""
        self.path, self.output = path, output
        self.methods, self.seeds = tuple(dict.fromkeys(methods)), tuple(dict.fromkeys(seeds))
        for name in self.methods:
            check_method(name, "method")
        self.settings = _settings(path, overrides)
        self.overrides = [*self.settings.changes, *overrides]
        self.overrides += _same_arithmetic(self._recipe(self.settings.reference), output)
        recipe = self._recipe(self.settings.reference)
        self._check(recipe)
        self.shares_finetune = recipe.stage.finetune is not None
        self.budget = total_budget(self.settings, _budgeted(recipe))
        self.cells = [cell for seed in self.seeds for cell in self._of_seed(seed)]

    @property
    def name(self) -> str:
        """Of the recipe."""
        return Path(self.path).stem

    def _recipe(self, method: str, *overrides: str) -> Recipe:
        own = ("comparison=null", f"method={method}")
        return load_recipe(self.path, [*self.overrides, *own, *overrides])

    def _check(self, recipe: Recipe) -> None:
        reference = self.settings.reference
        if reference not in self.methods:
            raise ConfigError(
                f"{self.path}: the reference {reference!r} is not compared; add it to the methods, "
                "or choose another comparison.reference"
            )
        if not recipe.data.evaluation:
            raise ConfigError(f"{self.path}: nothing to compare on; add data.evaluation")
        if recipe.evaluation.metric == "translation":
            raise ConfigError(
                f"{self.path}: evaluation.metric is translation; methods are compared by answers "
                "that are right or wrong, such as number, choice or exact"
            )

    def _of_seed(self, seed: int) -> list[Cell]:
        starters = [name for name in self.methods if self._starts_from_base(name)]
        base = None
        if starters or BASE in self.methods:
            base = self._cell(BASE, seed, None)
        cells = [] if base is None else [base]
        for name in self.methods:
            if name != BASE:
                cells.append(self._cell(name, seed, base if name in starters else None))
        return cells

    def _starts_from_base(self, method: str) -> bool:
        """Whether the method begins with the fine-tune that makes the bare language model."""
        first = METHODS[method].language_model[:1]
        return self.shares_finetune and method != BASE and first == (FINETUNE,)

    def _cell(self, method: str, seed: int, base: Cell | None) -> Cell:
        """Write the recipe of one run, which ``layalign train`` carries out as any other."""
        folder = self.output / f"{method}-seed{seed}"
        overrides = [f"seed={seed}", _setting("output_dir", os.fspath(folder))]
        if method != BASE:  # it measures the bare language model once for all
            overrides.append("evaluation.bare=false")
        changes = self._changes(method, overrides, begun=base is not None)
        overrides.append(_setting("methods", {method: changes}))
        if base is not None:
            start = os.fspath(base.folder / LANGUAGE_MODEL_FOLDER)
            overrides += [
                _setting("model.language_model", start),
                "model.language_model_revision=null",
                f"stage.{FINETUNE}=null",
            ]
        recipe = self._recipe(method, *overrides)
        plan_method(recipe)
        return Cell(
            method=method, seed=seed, recipe=recipe, shown=method in self.methods, after=base
        )

    def _changes(self, method: str, overrides: Sequence[str], *, begun: bool) -> list[str]:
        """The method's own changes, and the limits that the budget gives its stages.

        A stage that trains the language model takes its rates from the fine-tune; where that has
        been done before, they have to be written down.
        """
        recipe = self._recipe(method, *overrides)
        plan, stages = plan_method(recipe), _budgeted(recipe)
        changes = list(recipe.methods.get(method, ()))
        for name, amounts in limits(self.settings, self.budget, stages).items():
            if begun and name in plan.language_model:
                values = {**stages[name].to_dict(), **amounts}
                changes.append(_setting(f"stage.{name}", values))
            else:
                changes += [_setting(f"stage.{name}.{key}", n) for key, n in amounts.items()]
        return changes


def _settings(path: str | PathLike[str], overrides: Sequence[str]) -> ComparisonRecipe:
    """What is said about comparing; a recipe's budget is of no use where another kind is chosen."""
    own, settings = (
        load_recipe(path, some).comparison or ComparisonRecipe() for some in ((), overrides)
    )
    is_given = any(override.startswith("comparison.budget=") for override in overrides)
    if settings.equal != own.equal and not is_given:
        return dataclasses.replace(settings, budget=None)
    return settings


def _budgeted(recipe: Recipe) -> dict[str, StageConfig]:
    """The stages that the budget is for."""
    configs = plan_method(recipe).configs
    return {name: config for name, config in configs.items() if name != FINETUNE}


def _same_arithmetic(recipe: Recipe, output: Path) -> list[str]:
    """Settle once what is fastest, so that all runs, now and later, calculate alike."""
    if recipe.dtype != "fastest":
        return []
    begun = next(iter(sorted(output.glob("*-seed*.yaml"))), None)
    if begun is not None:
        settled = load_recipe(begun)
        dtype: str = settled.dtype
        attention = settled.model.attn_implementation
    else:
        dtype, attention = fastest_arithmetic("cuda" if torch.cuda.is_available() else "cpu")
        attention = recipe.model.attn_implementation or attention
    return [f"dtype={dtype}", _setting("model.attn_implementation", attention)]


def _setting(key: str, value: Any) -> str:
    return f"{key}={json.dumps(value)}"
