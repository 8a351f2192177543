"""Find out what a folder holds, and read it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from os import PathLike
from pathlib import Path
from typing import Any

from layalign.errors import ConfigError
from layalign.eval.report import task_title
from layalign.eval.results_folder import SETTINGS_NAME
from layalign.eval.run_folder import RECIPE_NAME, SUMMARY_NAME
from layalign.report.files import inside, read_json, understood
from layalign.report.records import Contents, Cost, Difference, Method, Scores
from layalign.report.runs import answers_of, read_run
from layalign.report.summaries import (
    BARE,
    Column,
    existing,
    figure,
    read_groups,
    read_languages,
    summary_scores,
    unit,
    with_method,
)

COMPARISON_NAME = "comparison.json"
RESULTS_NAME = "results.json"
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
        recipe = results.get("recipe") or {}
        tasks = _tasks(folder, results)
        scores = tuple(_task(folder, name, task, recipe) for name, task in tasks)
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


def _task(folder: Path, name: str, task: Mapping[str, Any], recipe: Mapping[str, Any]) -> Scores:
    slugs = {"bare": BARE, "layalign": "layalign"}
    columns = {
        key: Column(slug, inside(folder, f"{name}.{slug}.jsonl")) for key, slug in slugs.items()
    }
    return summary_scores(
        task,
        with_method(columns, task, recipe),
        title=name,
        asked=_asked(name, task),
        source=str(folder),
        notes=(f"{folder}: {task_title(name, task)}.",),
    )


def _asked(name: str, task: Mapping[str, Any]) -> str:
    """All that decides which questions were asked; results of earlier versions lack some of it."""
    same = [name, *(task[key] for key in ("version", "data_sha256", "limit", "metric"))]
    # Files are told by what is in them, wherever they lie; a set on a hub has no hash.
    same += [task.get("split"), None if task["data_sha256"] else task.get("data")]
    return json.dumps([*same, sorted(task["languages"])], sort_keys=True)


def _read_comparison(folder: Path) -> Contents:
    from layalign.comparison.table import SCHEMA  # heavy, as are the weights of its runs

    path = folder / COMPARISON_NAME
    values = read_json(path)
    if values.get("schema") != SCHEMA:
        raise ConfigError(
            f"{path} has schema {values.get('schema')!r}, and this version of layalign reads "
            f"{SCHEMA}; compare again with this version"
        )
    with understood(path):
        scores = _comparison(folder, values, asked=str(path.resolve()))
        methods = values["methods"].values()
        places = [inside(folder, run) for method in methods for run in method["runs"].values()]
        commands = tuple(map(str, values["commands"]))
        versions = {str(name): str(version) for name, version in values["versions"].items()}
    # A run's own evaluation is in the comparison already, and so is its command.
    runs = tuple(run for place in places if place.is_dir() for run in read_run(place).runs)
    return Contents(scores=(scores,), runs=runs, commands=commands, versions=versions)


def _comparison(folder: Path, values: Mapping[str, Any], *, asked: str) -> Scores:
    from layalign.comparison.export import title

    methods = tuple(_method(folder, *item) for item in values["methods"].items())
    labels = {method.name: method.label for method in methods}
    return Scores(
        title=f"Comparison of methods: {title(values)}",
        asked=asked,
        unit=unit(values["metric"]),
        languages=read_languages(values["languages"]),
        groups=read_groups(values["groups"]),
        methods=methods,
        reference=labels.get(values["reference"], str(values["reference"])),
        notes=tuple(_notes(values)),
    )


def _method(folder: Path, name: str, values: Mapping[str, Any]) -> Method:
    versus, cost = values["versus"], values["cost"]
    seed = min(values["runs"], key=int, default=None)
    answers = None
    if seed is not None:
        answers = existing(answers_of(inside(folder, values["runs"][seed])))
    return Method(
        name=name,
        label=str(values["label"]),
        source=str(folder),
        languages={tag: figure(row) for tag, row in values["languages"].items()},
        averages={group: figure(row) for group, row in values["averages"].items()},
        versus=versus and {g: _difference(row) for g, row in versus["averages"].items()},
        cost=Cost(**{field.name: _known(cost.get(field.name)) for field in fields(Cost)}),
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


def _notes(values: Mapping[str, Any]) -> Iterator[str]:
    from layalign.comparison.export import few_seeds

    yield f"The budget is for a method's stages beside the fine-tune. {_seeds(values['seeds'])}."
    yield from few_seeds(values["seeds"])
    for method in values["methods"].values():
        if sorted(method["seeds"]) != sorted(values["seeds"]):
            yield f"{method['label']}: {_seeds(method['seeds']).lower()} only."


def _seeds(seeds: Sequence[int]) -> str:
    return f"Seed{'s' * (len(seeds) != 1)} {', '.join(map(str, seeds))}"
