"""The ways of teaching a language model a language that a recipe can choose between."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from layalign.chat_format import QUESTION
from layalign.errors import ConfigError, nearest
from layalign.eval.prompts import check_question, with_question
from layalign.train.stages import Stage, StageConfig
from layalign.yaml_files import apply_override

if TYPE_CHECKING:
    from layalign.train.recipe import Recipe

DEFAULT_LORA_RANK = 8

# What suits a language model as a whole, and would not suit the new layers between two models.
_OPTIMISATION = (
    *("lr", "batch_size", "micro_batch_size", "warmup", "schedule", "weight_decay", "betas"),
    *("eps", "max_grad_norm", "embedding_noise", "lora_rank", "dtype", "gradient_checkpointing"),
)

# Without an aligner, settings of it are refused; and a LoRA would make it another method.
_ADAPTER_ALONE = (
    *("model.aligner=none", "model.aligner_width=null", "model.gate=scalar"),
    *("model.encoder_layers=null", "model.language_layers=null", "model.lora=null"),
)
_TRANSLATE = "Translate into English.\n{question}\nEnglish:"


@dataclass(frozen=True, kw_only=True)
class Method:
    """What a method does with a recipe that describes LayAlign."""

    label: str
    """Its name in tables, the paper's where the paper has one."""

    description: str
    """In a few words, what is trained and what the language model reads."""

    language_model: tuple[str, ...] = ("finetune",)
    """Stages that train the language model itself, in this order; those of them that the recipe
    has."""

    composite: tuple[str, ...] = ()
    """Stages that train LayAlign's parts, in this order; those of them that the recipe has."""

    needed: tuple[str, ...] = ()
    """Stages without which it would be another method."""

    changes: tuple[str, ...] = ()
    """Settings of the recipe that it needs otherwise, each ``dotted.key=value``; those of a stage
    that the recipe does not have are left out."""

    lora: bool | None = None
    """Whether the stages that only it trains the language model in use a LoRA; None for as the
    recipe's ``stage.finetune`` does."""

    translates: bool = False
    """Questions are translated into English before the language model reads them, by
    ``evaluation.translator`` or by what ``composite`` trains."""

    keeps_original: bool = False
    """The language model reads the question in its own language too, and is trained to."""


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "base": Method(
            label="Bare LLM",
            description="the language model alone, fine-tuned on English if the recipe does so",
        ),
        "multilingual_sft": Method(
            label="Multilingual SFT",
            description="the whole language model, trained on the task in all languages",
            language_model=("finetune", "task"),
            needed=("task",),
            lora=False,
        ),
        "multilingual_lora": Method(
            label="Multilingual LoRA",
            description="the language model, trained on the task in all languages through a LoRA",
            language_model=("finetune", "task"),
            needed=("task",),
            lora=True,
        ),
        "qalign": Method(
            label="QAlign",
            description="the language model, trained to translate into English, then on English",
            language_model=("translation", "finetune"),
            needed=("translation", "finetune"),
            changes=(f"stage.translation.prompt_template={json.dumps(_TRANSLATE)}",),
        ),
        "translate_test": Method(
            label="Translate-Test",
            description="the bare language model reads an English translation of the question",
            composite=("translation",),
            needed=("translation",),
            changes=("model.lora=null",),
            translates=True,
        ),
        "mindmerger_hard": Method(
            label="MindMerger-Hard",
            description="the language model, trained to read question and English translation",
            language_model=("finetune", "task"),
            composite=("translation",),
            needed=("translation", "task"),
            changes=("model.lora=null",),
            translates=True,
            keeps_original=True,
        ),
        "langbridge": Method(
            label="LangBridge",
            description="adapter alone; the language model reads soft tokens and no question",
            composite=("task",),
            needed=("task",),
            changes=(
                *_ADAPTER_ALONE,
                "stage.task.text_input=false",
                "stage.task.text_dropout=0",
            ),
        ),
        "mindmerger": Method(
            label="MindMerger",
            description="adapter alone; soft tokens, and in the task stage the question too",
            composite=("translation", "task"),
            changes=(*_ADAPTER_ALONE, "stage.task.text_input=true"),
        ),
        "layalign": Method(
            label="LayAlign",
            description="adapter, aligner and gates, as the recipe says",
            composite=("translation", "task"),
        ),
    }
)


def check_method(name: str, where: str) -> None:
    """Refuse a name that is no method.

    Raises:
        ConfigError: It is not known; the nearest one is suggested.
    """
    if name not in METHODS:
        known = ", ".join(METHODS)
        hint = nearest(name, METHODS) or f"; expected one of {known}"
        raise ConfigError(f"unknown method {name!r} in {where}{hint}")


@dataclass(frozen=True, kw_only=True)
class MethodPlan:
    """A recipe as its method carries it out."""

    method: Method

    recipe: Recipe
    """With the method's settings; of its stages those of LayAlign's parts and ``finetune``."""

    language_model: Mapping[str, StageConfig]
    """The stages of the language model itself, in order."""

    composite: Mapping[str, StageConfig]
    """The stages of LayAlign's parts, in order."""

    @property
    def translator(self) -> str | None:
        """Name of what translates questions, where that is not LayAlign itself."""
        return self.recipe.evaluation.translator if self.method.translates else None

    @property
    def after_translation(self) -> tuple[str, ...]:
        """The stages of the language model that read translations, so come after all others."""
        return ("task",) if self.method.keeps_original else ()

    @property
    def configs(self) -> dict[str, StageConfig]:
        """All stages in order."""
        last = {name: self.language_model[name] for name in self.after_translation}
        first = {name: c for name, c in self.language_model.items() if name not in last}
        return {**first, **self.composite, **last}


def plan_method(recipe: Recipe) -> MethodPlan:
    """Work out what a recipe's method does.

    A stage that trains LayAlign's parts in the recipe and the language model itself in the method
    takes how it is optimised (rates, batches, arithmetic, LoRA) from ``stage.finetune``, if there
    is one, and keeps its limits. Changes under ``methods`` come last, so they can set anything; the
    recipe itself is left alone.

    Raises:
        ConfigError: The recipe lacks a stage that the method needs, or a change is not valid.
    """
    method = METHODS[recipe.method]
    try:
        values = _changed(recipe, method)
        stages = values["stage"]
        language_model = {
            name: _read_stage(name, stages[name], recipe.seed)
            for name in method.language_model
            if stages[name]
        }
        kept = {*method.composite} | {*method.language_model} & {"finetune"}
        effective = type(recipe).from_dict(
            {**values, "stage": {name: stages[name] for name in kept}}
        )
    except ConfigError as error:
        raise ConfigError(f"method {recipe.method}: {error}") from error
    composite = {
        name: config for name in method.composite if (config := getattr(effective.stage, name))
    }
    return MethodPlan(
        method=method, recipe=effective, language_model=language_model, composite=composite
    )


def _changed(recipe: Recipe, method: Method) -> dict[str, Any]:
    """The recipe's plain values with all that the method changes, every stage among them."""
    values = recipe.to_dict()
    stages: dict[str, Any] = values["stage"]
    for name in method.language_model:
        if stages[name] and name != "finetune":
            stages[name] = _on_language_model(method, stages[name], stages["finetune"])
    for change in method.changes:
        area, name, *_ = change.split(".")
        if area != "stage" or values["stage"][name]:
            apply_override(values, change)
    for change in recipe.methods.get(recipe.method, ()):
        _check_change(change, values["stage"] or {})
        apply_override(values, change)
    if values["method"] != recipe.method:
        raise ConfigError("its changes set method; leave that out of them")
    values["stage"] = {**dict.fromkeys(stages), **(values["stage"] or {})}
    has_translator = method.translates and values["evaluation"]["translator"]
    if has_translator:
        values["stage"]["translation"] = None
    needed = [name for name in method.needed if name != "translation" or not has_translator]
    _check_stages(method, needed, values["stage"])
    return values


def _check_change(change: str, stages: Mapping[str, Any]) -> None:
    """Refuse a setting of a stage that is left out, which would bring the stage back."""
    key = change.partition("=")[0]
    area, name, *inside = [*key.split("."), ""]
    if area == "stage" and any(inside) and name in stages and stages[name] is None:
        raise ConfigError(
            f"{key} is set, but stage.{name} is not trained in this run; leave it out"
        )


def _check_stages(method: Method, needed: Sequence[str], stages: Mapping[str, Any]) -> None:
    for name, stage in stages.items():
        if stage is not None and not isinstance(stage, Mapping):
            raise ConfigError(f"stage.{name} is {stage!r}; expected a mapping of settings")
    missing = [name for name in needed if not stages[name]]
    if method.composite and not method.needed:
        any_of = (*method.language_model, *method.composite)
        missing = [] if any(stages[name] for name in any_of) else ["task"]
    if missing:
        is_translator = method.translates and missing[0] in method.composite
        raise ConfigError(
            f"stage.{missing[0]} is missing, which this method trains; add it, and "
            f"data.{missing[0]}" + ", or name an evaluation.translator" * is_translator
        )


def _on_language_model(
    method: Method, stage: Mapping[str, Any], finetune: Mapping[str, Any] | None
) -> dict[str, Any]:
    """A stage's settings where it trains the language model itself."""
    settings = {**stage, "gate_lr": None, "text_input": True, "text_dropout": 0.0}
    if stage["prompt_template"] is not None:
        settings["prompt_template"] = with_question(stage["prompt_template"])
    if finetune:
        settings |= {name: finetune[name] for name in _OPTIMISATION}
    if method.lora is not None:
        rank = settings["lora_rank"] or DEFAULT_LORA_RANK
        settings["lora_rank"] = rank if method.lora else None
    return settings


def _read_stage(name: str, values: Any, seed: int) -> StageConfig:
    stage = Stage.TRANSLATION if name == "translation" else Stage.TASK
    config = StageConfig.from_dict({"seed": seed, **values}, stage=stage, where=f"stage.{name}")
    # Without an encoder the language model learns nothing from a text that lacks the question.
    check_question(config.template(QUESTION), f"what the language model reads in stage.{name}")
    return config
