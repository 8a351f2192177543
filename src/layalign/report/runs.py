"""Read the folder of a training run."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layalign.errors import ConfigError, DataError
from layalign.eval.provenance import is_language_model
from layalign.eval.run_folder import PREDICTIONS_FOLDER, RECIPE_NAME, SUMMARY_NAME
from layalign.report.files import inside, read_json, understood
from layalign.report.records import Contents, Curve, Run, Scores
from layalign.report.summaries import BARE, Column, summary_scores, with_method
from layalign.yaml_files import read_yaml

if TYPE_CHECKING:
    from layalign.analysis.weights import Weights

_CONFIG_NAME = "config.json"
_COUNTS = ("updates", "examples", "tokens", "seconds")


def read_run(folder: Path) -> Contents:
    """Read a run: its losses, weights, evaluation and answers, as far as they are there.

    Raises:
        DataError: A file is damaged.
        CheckpointError: The weights are.
    """
    path = folder / SUMMARY_NAME
    recipe = _recipe(folder)
    summary = read_json(path) if path.is_file() else {}
    weights = _weights(folder)
    config = {} if weights is None else read_json(folder / _CONFIG_NAME)
    with understood(path):
        stages = {name: _curve(stage) for name, stage in (summary.get("stages") or {}).items()}
        scores = _scores(folder, summary, recipe)
        facts = _facts(recipe, summary, config)
        versions = {str(k): str(v) for k, v in (summary.get("versions") or {}).items()}
    text = (folder / RECIPE_NAME).read_text(encoding="utf-8") if recipe else ""
    run = Run(
        name=str(folder),
        recipe=text,
        facts=facts,
        stages={name: curve for name, curve in stages.items() if curve.losses},
        weights=weights,
    )
    words = ["layalign", "train", str(folder / RECIPE_NAME)]
    command = shlex.join([*words, "--set", f"output_dir={folder}-again"])  # its own place is taken
    return Contents(
        scores=scores, runs=(run,), commands=(command,) if recipe else (), versions=versions
    )


def answers_of(folder: Path) -> Path:
    """Where the answers of a run's own system are."""
    path = folder / SUMMARY_NAME
    slug = _own_system(read_json(path)) if path.is_file() else "layalign"
    return _predictions(folder, slug)


def _predictions(folder: Path, slug: str) -> Path:
    return inside(folder / PREDICTIONS_FOLDER, f"{slug}.jsonl")


def _own_system(summary: Mapping[str, Any]) -> str:
    """The slug of what was trained; runs of earlier versions do not say it."""
    return str(summary.get("system") or "layalign")


def _recipe(folder: Path) -> dict[str, Any]:
    path = folder / RECIPE_NAME
    if not path.is_file():
        return {}
    try:
        return read_yaml(path)
    except ConfigError as error:
        raise DataError(f"{path}: {error}") from error


def _curve(stage: Mapping[str, Any]) -> Curve:
    return Curve(
        # None is an update that was not made; what comes after moves up in the chart.
        losses=tuple(float(x) for x in stage.get("losses") or () if x is not None),
        dev=tuple((int(r["update"]), float(r["loss"])) for r in stage.get("dev") or ()),
        facts={name: float(stage[name]) for name in _COUNTS if stage.get(name) is not None},
    )


def _scores(
    folder: Path, summary: Mapping[str, Any], recipe: Mapping[str, Any]
) -> tuple[Scores, ...]:
    evaluation = summary.get("evaluation")
    if not evaluation:
        return ()
    settings = recipe.get("evaluation") or {}
    data = (recipe.get("data") or {}).get("evaluation")
    own = _own_system(summary)
    slugs = {"bare": BARE, "layalign": "layalign" if own == BARE else own}
    columns = {key: Column(slug, _predictions(folder, slug)) for key, slug in slugs.items()}
    scores = summary_scores(
        {"metric": settings.get("metric"), **evaluation},
        with_method(columns, evaluation, recipe),
        title="Questions of the recipe",
        asked=json.dumps([data, settings.get("metric")], default=str, sort_keys=True),
        source=str(folder),
    )
    return (scores,)


def _facts(
    recipe: Mapping[str, Any], summary: Mapping[str, Any], config: Mapping[str, Any]
) -> dict[str, str]:
    """What is known of a run; of LayAlign's parts what the checkpoint says, as methods differ."""
    model = recipe.get("model") or {}
    seconds, memory = summary.get("training_seconds"), summary.get("peak_memory_gib")
    parameters = summary.get("trained_parameters")
    facts = {
        "Method": recipe.get("method"),
        "Encoder": config.get("encoder") or None,
        "Language model": model.get("language_model"),
        "Aligner": config.get("aligner"),
        "Seed": summary.get("seed", recipe.get("seed")),
        "Trained parameters, last stage": None if parameters is None else f"{parameters:,}",
        "Training, minutes": None if seconds is None else f"{seconds / 60:.1f}",
        "Peak memory": None if memory is None else f"{memory:.1f} GiB",
        "State": None if summary else "not finished",
    }
    return {name: str(value) for name, value in facts.items() if value is not None}


def _weights(folder: Path) -> Weights | None:
    if not (folder / _CONFIG_NAME).is_file():
        return None
    from layalign.analysis.weights import read_weights
    from layalign.model.checkpoint import WEIGHTS_NAME

    if not (folder / WEIGHTS_NAME).is_file() or is_language_model(folder):
        return None
    return read_weights(folder)
