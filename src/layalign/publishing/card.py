"""A run's model card: what it read and how well it answers, from its recipe and summary."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import metadata_load, metadata_save
from yaml import YAMLError

from layalign.data import check_language, language_name
from layalign.errors import ConfigError, reason
from layalign.eval.export import markdown_table
from layalign.eval.run_folder import RECIPE_NAME, SUMMARY_NAME
from layalign.model import LayAlignConfig
from layalign.model.card import CARD_NAME, config_backbones, find_backbone, make_card
from layalign.model.checkpoint import read_weights
from layalign.model.parts import count_by_part
from layalign.train.summary import RunSummary
from layalign.yaml_files import read_yaml


def write_card(source: Path, target: Path, *, name: str, licence: str | None) -> None:
    """Write the card of a checkpoint.

    Args:
        source: The checkpoint as it was made: a run's folder, or one that has a card already. If
            that is another than ``save_pretrained`` writes, its text is kept.
        target: The checkpoint as it is given away.
        name: What it is loaded by.
        licence: Of the trained parameters.

    Raises:
        ConfigError: A licence cannot be put into the card that is there.
    """
    summary = source / SUMMARY_NAME
    if not summary.is_file() and _has_own_card(source):
        shutil.copyfile(source / CARD_NAME, target / CARD_NAME)
        if licence is not None:
            _set_licence(target / CARD_NAME, licence)
        return
    recipe = read_yaml(source / RECIPE_NAME) if (source / RECIPE_NAME).is_file() else {}
    evaluation = (RunSummary.load(summary).evaluation if summary.is_file() else None) or {}
    config = LayAlignConfig.from_pretrained(target)
    backbones = config_backbones(config, fetch=True)
    if model := recipe.get("model"):  # what a language model was before its fine-tune
        revision = model.get("language_model_revision")
        backbones["language_model"] = find_backbone(model["language_model"], revision, fetch=True)
    languages = _trained_languages(recipe, evaluation)
    sections = {"Data": _data(recipe, languages), "Results": _results(recipe, evaluation)}
    text = make_card(
        config,
        count_by_part(read_weights(target).items()),
        name=name,
        backbones=backbones,
        languages=languages,
        licence=licence,
        sections={title: text for title, text in sections.items() if text},
    )
    (target / CARD_NAME).write_text(text, encoding="utf-8")


def _has_own_card(source: Path) -> bool:
    """Whether there is a card, and it is not just as :func:`make_card` writes it for a model."""
    if not (source / CARD_NAME).is_file():
        return False
    text = (source / CARD_NAME).read_text(encoding="utf-8", errors="replace")
    name = text.partition('from_pretrained("')[2].partition('"')[0]
    parts = count_by_part(read_weights(source).items())
    return text != make_card(LayAlignConfig.from_pretrained(source), parts, name=name)


def _set_licence(card: Path, licence: str) -> None:
    """Change the licence in the head of a card; its text stays as it is."""
    try:
        head = metadata_load(card) or {}
    except (ValueError, YAMLError) as error:
        raise ConfigError(
            f"the licence cannot be put into the checkpoint's own {CARD_NAME}: its head is not "
            f"readable ({reason(error)}); mend the head, or write the licence there by hand"
        ) from error
    for key in ("license_name", "license_link"):  # of another one
        head.pop(key, None)
    metadata_save(card, {**head, "license": licence})


def _trained_languages(recipe: Mapping[str, Any], evaluation: Mapping[str, Any]) -> list[str]:
    """Tags that the recipe names for training, and those that the evaluation calls trained."""
    named = [
        tag
        for _, source in _sources(recipe)
        for tag in [source.get("language"), *(source.get("languages") or ())]
        if tag
    ]
    measured = [tag for tag, row in (evaluation.get("languages") or {}).items() if row["trained"]]
    return sorted({check_language(tag) for tag in named + measured})


def _sources(recipe: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every source of training data, with the stage that reads it."""
    data = recipe.get("data") or {}
    trained = [stage for stage, settings in (recipe.get("stage") or {}).items() if settings]
    for stage in trained:
        for source in (data.get(stage) or {}).get("train") or ():
            yield stage, source


def _data(recipe: Mapping[str, Any], languages: list[str]) -> str:
    rows = [f"| {stage} | {_source(source)} |" for stage, source in _sources(recipe)]
    if not rows:
        return ""
    names = ", ".join(map(language_name, languages))
    table = "\n".join(["| Stage | Source |", "| --- | --- |", *rows])
    return f"Languages: {names}. `{RECIPE_NAME}` beside this file has every setting.\n\n{table}"


def _source(source: Mapping[str, Any]) -> str:
    """What it is called, without a place on somebody's disk."""
    hub = source.get("hub")
    place = source.get("name") or (_short(hub) if hub else Path(source["path"]).name)
    details = [source.get(key) for key in ("format", "subset", "split")]
    tags = source.get("languages") or [source.get("language")]
    limit = source.get("limit")
    parts = [*details, " ".join(filter(None, tags)), limit and f"at most {limit} a language"]
    return ", ".join([f"`{place}`", *(str(part) for part in parts if part)])


def _short(hub: str) -> str:
    """A hub id as it is, and of a folder the last part."""
    path = Path(hub).expanduser()
    is_hub_id = hub.count("/") <= 1 and not path.is_absolute()
    return hub if is_hub_id else path.name


def _results(recipe: Mapping[str, Any], evaluation: Mapping[str, Any]) -> str:
    if not evaluation:
        return ""
    metric = (recipe.get("evaluation") or {}).get("metric", "number")
    what = "chrF, 0 to 100," if metric == "translation" else "accuracy in percent"
    return (
        f"On the questions of the recipe, {what} with 95 % intervals. Gain over the bare language "
        f"model in points.\n\n{markdown_table({**evaluation, 'metric': metric})}"
    )
