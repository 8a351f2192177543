"""Find out what a folder holds, and read it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from os import PathLike
from pathlib import Path
from typing import Any

from layalign.errors import ConfigError
from layalign.eval.report import task_title
from layalign.report.files import read_json, understood
from layalign.report.records import Contents, Cost, Difference, Method, Scores
from layalign.report.runs import RECIPE_NAME, SUMMARY_NAME, answers_of, read_run
from layalign.report.summaries import (
    Column,
    existing,
    figure,
    read_languages,
    summary_scores,
    unit,
)

COMPARISON_NAME = "comparison.json"
RESULTS_NAME = "results.json"
SETTINGS_NAME = "settings.json"
_SCHEMA = 1
_EXPECTED = (
    f"the folder of a run ({RECIPE_NAME}), of an evaluation ({RESULTS_NAME}) or of a comparison "
    f"({COMPARISON_NAME})"
)


def read_folder(folder: str | PathLike[str]) -> Contents:
    """Read a run, an evaluation or a comparison.

    Args:
        folder: Of ``layalign train``, ``layalign evaluate --output`` or ``layalign compare``.

    Raises:
        ConfigError: There is no such folder, or nothing of ours in it.
        DataError: A file in it is damaged.
    """
    place = Path(folder)
    if not place.is_dir():
        raise ConfigError(f"{place} is not a folder; expected {_EXPECTED}")
    if (place / COMPARISON_NAME).is_file():
        return _read_comparison(place)
    if (place / SUMMARY_NAME).is_file() or (place / RECIPE_NAME).is_file():
        return read_run(place)
    if (place / RESULTS_NAME).is_file():
        return _read_evaluation(place)
    if (place / SETTINGS_NAME).is_file():
        raise ConfigError(
            f"{place} holds an evaluation that is not finished; go on with it (layalign evaluate "
            "with --resume)"
        )
    raise ConfigError(f"{place} holds nothing that a report shows; expected {_EXPECTED}")


def _read_evaluation(folder: Path) -> Contents:
    path = folder / RESULTS_NAME
    results = read_json(path)
    with understood(path):
        scores = tuple(_task(folder, name, task) for name, task in _tasks(folder, results))
        command = results.get("command")
        return Contents(
            scores=scores,
            commands=(str(command),) if command else (),
            versions={str(k): str(v) for k, v in (results.get("versions") or {}).items()},
        )


def _tasks(folder: Path, results: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if "tasks" in results:
        yield from results["tasks"].items()
    else:  # of an evaluation without named tasks, whose only one the settings name
        yield from ((name, results) for name in read_json(folder / SETTINGS_NAME)["tasks"])


def _task(folder: Path, name: str, task: Mapping[str, Any]) -> Scores:
    slugs = {"bare": "bare_llm", "layalign": "layalign"}
    same = [name, task["version"], task["data_sha256"], task["limit"], task["metric"]]
    return summary_scores(
        task,
        {key: Column(slug, folder / f"{name}.{slug}.jsonl") for key, slug in slugs.items()},
        title=name,
        asked=json.dumps(same, sort_keys=True),
        source=str(folder),
        notes=(f"{folder}: {task_title(name, task)}.",),
    )


def _read_comparison(folder: Path) -> Contents:
    path = folder / COMPARISON_NAME
    values = read_json(path)
    if values.get("schema") != _SCHEMA:
        raise ConfigError(
            f"{path} has schema {values.get('schema')!r}, and this version of layalign reads "
            f"{_SCHEMA}; compare again with this version"
        )
    with understood(path):
        methods = tuple(_method(folder, *item) for item in values["methods"].items())
        labels = {method.name: method.label for method in methods}
        places = [folder / run for m in values["methods"].values() for run in m["runs"].values()]
        scores = Scores(
            title=f"Comparison of methods: {values['recipe']}",
            asked=str(path.resolve()),
            unit=unit(values["metric"]),
            languages=read_languages(values["languages"]),
            groups={group: tuple(tags) for group, tags in values["groups"].items()},
            methods=methods,
            reference=labels.get(values["reference"], str(values["reference"])),
            notes=_notes(values),
        )
        commands = tuple(map(str, values["commands"]))
        versions = {str(name): str(version) for name, version in values["versions"].items()}
    # A run's own evaluation is in the comparison already, and so is its command.
    runs = tuple(run for place in places if place.is_dir() for run in read_run(place).runs)
    return Contents(scores=(scores,), runs=runs, commands=commands, versions=versions)


def _method(folder: Path, name: str, values: Mapping[str, Any]) -> Method:
    versus, cost = values["versus"], values["cost"]
    seed = min(values["runs"], key=int, default=None)
    answers = None if seed is None else existing(answers_of(folder / values["runs"][seed]))
    return Method(
        name=name,
        label=str(values["label"]),
        source=str(folder),
        languages={tag: figure(row) for tag, row in values["languages"].items()},
        averages={group: figure(row) for group, row in values["averages"].items()},
        versus=versus and {g: _difference(row) for g, row in versus["averages"].items()},
        cost=Cost(**{field.name: _known(cost[field.name]) for field in fields(Cost)}),
        predictions=answers,
        seed=None if seed is None else int(seed),
    )


def _difference(row: Mapping[str, Any]) -> Difference:
    return Difference(
        figure=figure(row),
        p=_known(row["p"]),
        p_corrected=_known(row["p_corrected"]),
        verdict=None if row["verdict"] is None else str(row["verdict"]),
    )


def _known(value: Any) -> float | None:
    return None if value is None else float(value)


def _notes(values: Mapping[str, Any]) -> tuple[str, ...]:
    kind, budget = values["equal"]["kind"], values["equal"]["budget"]
    amount = "" if budget is None else f" ({budget:,g})"
    seeds = ", ".join(map(str, values["seeds"]))
    return (f"Every method had the same budget of {kind}{amount}. Seeds: {seeds}.",)


def merged(found: tuple[Scores, ...]) -> tuple[Scores, ...]:
    """Put scores on the same questions into one; a system that stands in several is kept once.

    Where two methods have one label, their folders are added to it.
    """
    together: dict[str, list[Scores]] = {}
    for scores in found:
        together.setdefault(scores.asked, []).append(scores)
    return tuple(_join(parts) for parts in together.values())


def _join(parts: list[Scores]) -> Scores:
    if len(parts) == 1:
        return parts[0]
    kept: list[Method] = []
    for method in (method for scores in parts for method in scores.methods):
        if not any(m.label == method.label and m.languages == method.languages for m in kept):
            kept.append(method)
    labels = [method.label for method in kept]
    sources = {method.source for method in kept}
    is_clear = len({Path(source).name for source in sources}) == len(sources)
    methods = tuple(
        m
        if labels.count(m.label) == 1
        else replace(m, label=f"{m.label} ({Path(m.source).name if is_clear else m.source})")
        for m in kept
    )
    languages = {language.tag: language for scores in parts for language in scores.languages}
    reference = parts[0].reference
    return replace(
        parts[0],
        reference=reference + (" of the same folder" if labels.count(reference) > 1 else ""),
        languages=tuple(languages.values()),
        groups={group: tags for scores in parts for group, tags in scores.groups.items()},
        methods=methods,
        notes=tuple(note for scores in parts for note in scores.notes),
    )
