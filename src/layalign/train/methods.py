"""The ways of teaching a language model a language that a recipe can choose between."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from layalign.errors import ConfigError, nearest
from layalign.train.stages import StageConfig
from layalign.yaml_files import apply_override

if TYPE_CHECKING:
    from layalign.train.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Method:
    """What a method does with a recipe that describes LayAlign."""

    label: str
    """Its name in tables."""

    language_model: tuple[str, ...] = ("finetune",)
    """Stages that train the language model itself, in this order."""

    composite: tuple[str, ...] = ()
    """Stages that train LayAlign's parts, in this order."""

    changes: tuple[str, ...] = ()
    """Settings of the recipe that it needs otherwise, each ``dotted.key=value``."""


METHODS: Mapping[str, Method] = {
    "base": Method(label="Bare LLM"),
    "mindmerger": Method(
        label="MindMerger", composite=("translation", "task"), changes=("model.aligner=none",)
    ),
    "layalign": Method(label="LayAlign", composite=("translation", "task")),
}


@dataclass(frozen=True, kw_only=True)
class MethodPlan:
    """A recipe as its method carries it out."""

    recipe: Recipe
    """With the method's settings."""

    language_model: Mapping[str, StageConfig]
    """The stages of the language model itself, in order."""

    composite: Mapping[str, StageConfig]
    """The stages of LayAlign's parts, in order."""

    @property
    def configs(self) -> dict[str, StageConfig]:
        """All stages in order."""
        return {**self.language_model, **self.composite}


def plan_method(recipe: Recipe) -> MethodPlan:
    """Work out what a recipe's method does."""
    method, values = METHODS[recipe.method], recipe.to_dict()
    for change in (*method.changes, *recipe.methods.get(recipe.method, ())):
        apply_override(values, change)
    stages = values["stage"]
    for name in stages:
        if name not in (*method.language_model, *method.composite):
            stages[name] = None
    effective = type(recipe).from_dict(values)
    language_model, composite = (
        {name: config for name in names if (config := getattr(effective.stage, name))}
        for names in (method.language_model, method.composite)
    )
    return MethodPlan(recipe=effective, language_model=language_model, composite=composite)


def check_method(name: str, where: str) -> None:
    """Refuse a name that is no method.

    Raises:
        ConfigError: It is not known.
    """
    if name not in METHODS:
        raise ConfigError(
            f"{where} is {name!r}; expected one of {', '.join(METHODS)}{nearest(name, METHODS)}"
        )
