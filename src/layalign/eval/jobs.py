"""Tasks together with their examples, loaded and checked before any model is."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from layalign.data import DataSource, Example
from layalign.data.sources import NAMES
from layalign.errors import ConfigError
from layalign.eval.metrics import Metric
from layalign.eval.prompts import Template
from layalign.eval.provenance import hash_data
from layalign.eval.runner import check
from layalign.eval.tasks import Task


@dataclass(frozen=True, kw_only=True)
class Job:
    """A task with its examples."""

    task: Task
    source: DataSource
    examples: list[Example]

    def settings(self) -> dict[str, Any]:
        """What its predictions depend on beside the checkpoint."""
        return {
            **self.task.to_dict(),
            "source": dataclasses.asdict(self.source),
            "data_sha256": hash_data(self.source),
        }


def task_jobs(
    tasks: Sequence[Task],
    folder: str | PathLike[str] | None,
    languages: Sequence[str] | None,
    limit: int | None,
) -> list[Job]:
    """Load the data of tasks.

    Args:
        tasks: Of different names.
        folder: Holds one subfolder for each task that does not say where its data is.
        languages: BCP-47 tags; each task's own by default.
        limit: At most so many items a language.

    Raises:
        ConfigError: No tasks, a name twice, or a setting is not valid.
        DataError: The data of a task cannot be used.
    """
    names = [task.name for task in tasks]
    if not names:
        raise ConfigError("there are no tasks to evaluate; name at least one")
    if twice := [name for name in names if names.count(name) > 1]:
        raise ConfigError(f"task {twice[0]!r} is given twice; give every task a name of its own")
    place = None if folder is None else fspath(folder)
    return [_job(task, task.source(place, languages=languages, limit=limit)) for task in tasks]


def own_job(
    data: str | PathLike[str] | DataSource | None,
    split: str | None,
    languages: Sequence[str] | None,
    limit: int | None,
    metric: Metric,
    max_new_tokens: int | None,
) -> Job:
    """Load data that is evaluated as it is, with the checkpoint's own prompt.

    Args:
        data: A named set, a file or a source.
        split: Of a named set.
        languages: BCP-47 tags; all by default. Not used for a source, which says that itself.
        limit: At most so many items a language; as above.
        metric: How answers are compared.
        max_new_tokens: Longest answer; 256 by default.
    """
    where: dict[str, Any] = {}
    if isinstance(data, DataSource):
        name = data.name or data.path or "data"
    elif data is None or data in NAMES:
        name = fspath(data or NAMES[0])
        where = {"name": name, "split": split or "test"}
    else:
        name = fspath(data)
        where = {"path": name}
    task = Task(
        name=Path(name).name,
        data=where,
        metric=metric,
        templates={"checkpoint": Template()},
        max_new_tokens=256 if max_new_tokens is None else max_new_tokens,
    )
    if isinstance(data, DataSource):
        return _job(task, data)
    return _job(task, task.source(None, languages=languages, limit=limit))


def adjusted(task: Task, **changes: Any) -> Task:
    """Change settings of a task.

    Args:
        task: Any.
        **changes: Fields of the task, and ``split``; None changes nothing. ``scoring`` is for
            tasks with choices only, others always generate; ``split`` for tasks that have one.
    """
    given = {name: value for name, value in changes.items() if value is not None}
    if task.metric != "choice":
        given.pop("scoring", None)
    split = given.pop("split", None)
    if split is not None and task.data.get("split") is not None:
        given["data"] = {**task.data, "split": split}
    return dataclasses.replace(task, **given)


def _job(task: Task, source: DataSource) -> Job:
    examples = task.examples(source)
    check(examples, task.metric)
    for texts in (task.texts.prompt, task.texts.bare_prompt):
        texts(examples[0], "")  # a name that the data does not have shows here
    return Job(task=task, source=source, examples=examples)
