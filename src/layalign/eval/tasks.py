"""Benchmarks: what is asked, in which words, and how the answers are scored.

The shipped ones are YAML files in ``eval/tasks``; a file of the same fields is a task of one's own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from string import Formatter
from typing import Any, Literal

from layalign.data import DataSource, Example, check_language, load_examples
from layalign.errors import ConfigError, DataError, nearest
from layalign.eval.metrics import Metric
from layalign.eval.prompts import Template
from layalign.fields import check_keys, from_mapping
from layalign.yaml_files import apply_override, read_yaml

Scoring = Literal["generate", "loglikelihood"]
Normalise = Literal["none", "tokens", "bytes"]

_PLACES = ("path", "name", "hub")
_CHOSEN = ("languages", "limit")
_CONTINUATION = ("label", "choice")


@dataclass(frozen=True, kw_only=True)
class Task:
    """One benchmark.

    Raises:
        ConfigError: A setting is not valid or contradicts another one.
    """

    name: str
    """Also the name of its folder below the data folder."""

    version: int = 1
    """Raised whenever data, metric or scoring change; templates have versions of their own."""

    description: str = ""
    """One line about it."""

    data: Mapping[str, Any]
    """Fields of :class:`layalign.data.DataSource`, such as ``format`` and ``split``. Without a
    ``path`` or ``name`` it lies in the folder of the task's name."""

    metric: Metric
    """How an answer is read and compared: ``number``, ``choice``, ``exact``, or ``translation``
    (chrF and BLEU of a whole language)."""

    templates: Mapping[str, Template]
    """By name, at least one."""

    template: str | None = None
    """Name of the template in use; None for the first."""

    wording: Mapping[str, str] = field(default_factory=dict)
    """Other words for the choices and parts of the data, in prompts and answers."""

    parts: Mapping[str, str] = field(default_factory=dict)
    """Further names for templates: ``{relation: question}`` makes the example's part ``question``
    known as ``{relation}``."""

    scoring: Scoring = "generate"
    """``generate`` an answer and read it, or take the choice of the highest ``loglikelihood``."""

    continuation: str = " {label}"
    """What follows the prompt in log-likelihood scoring: ``{label}`` is the letter of a choice,
    ``{choice}`` its text."""

    normalise: Normalise = "none"
    """Divide a log-likelihood by the number of ``tokens`` or UTF-8 ``bytes`` of its choice."""

    max_new_tokens: int = 256
    """Longest answer, tokens."""

    stop: tuple[str, ...] = ()
    """An answer ends before any of these."""

    languages: tuple[str, ...] | None = None
    """Languages that are evaluated if none are named; None for all of the data."""

    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Languages that are averaged apart, such as ``low_resource``."""

    def __post_init__(self) -> None:
        """Check the settings, choose the template and normalise the language tags."""
        if not self.name.strip(".") or set(self.name) & set("/\\"):
            raise ConfigError(f"name is {self.name!r}; expected a word that can name a file")
        known = [f.name for f in dataclasses.fields(DataSource) if f.name not in _CHOSEN]
        check_keys(self.data, known, "data")
        if self.max_new_tokens < 1:
            raise ConfigError(f"max_new_tokens is {self.max_new_tokens}; expected at least 1")
        if self.scoring == "loglikelihood" and self.metric != "choice":
            raise ConfigError(
                f"task {self.name!r} has the metric {self.metric!r}; log-likelihood scoring needs "
                "choices to compare (metric 'choice')"
            )
        self._check_template()
        self._check_continuation()
        set_ = object.__setattr__
        if self.languages is not None:
            set_(self, "languages", tuple(check_language(tag) for tag in self.languages))
        set_(self, "groups", {n: tuple(map(check_language, g)) for n, g in self.groups.items()})

    def _check_template(self) -> None:
        if not self.templates:
            raise ConfigError(f"task {self.name!r} has no templates; add at least one")
        name = next(iter(self.templates)) if self.template is None else self.template
        if name not in self.templates:
            raise ConfigError(
                f"task {self.name!r} has no template {name!r}; expected one of "
                f"{', '.join(self.templates)}{nearest(name, self.templates)}"
            )
        object.__setattr__(self, "template", name)

    def _check_continuation(self) -> None:
        try:
            names = {name for _, name, _, _ in Formatter().parse(self.continuation) if name}
        except ValueError:
            names = set()
        if not names or not names <= set(_CONTINUATION):
            raise ConfigError(
                f"continuation is {self.continuation!r}; expected a text with {{label}} or "
                "{choice}"
            )

    @property
    def texts(self) -> Template:
        """The template in use."""
        return self.templates[self.template or ""]

    def source(
        self,
        folder: str | None,
        *,
        languages: Sequence[str] | None = None,
        limit: int | None = None,
    ) -> DataSource:
        """Where its examples are.

        Args:
            folder: Holds one subfolder (or file) for each task, by name.
            languages: BCP-47 tags; the task's own by default.
            limit: At most so many examples a language.

        Raises:
            ConfigError: The task needs a folder, or a setting of ``data`` is not valid.
        """
        values = dict(self.data)
        if not any(values.get(place) for place in _PLACES):
            if folder is None:
                raise ConfigError(
                    f"task {self.name!r} needs data; name the folder that holds {self.name} "
                    "(--data FOLDER)"
                )
            values["path"] = str(Path(folder) / self.name)
        chosen = self.languages if languages is None else tuple(map(check_language, languages))
        return from_mapping(
            DataSource, {**values, "languages": chosen, "limit": limit}, f"{self.name}.data"
        )

    def examples(self, source: DataSource) -> list[Example]:
        """Load the examples, and put them into the task's words.

        Raises:
            DataError: The data cannot be read, or an example lacks a part.
        """
        return [self._reworded(example) for example in load_examples(source)]

    def _reworded(self, example: Example) -> Example:
        if not self.wording and not self.parts:
            return example
        parts = {name: self._word(part) for name, part in example.parts.items()}
        for name, part in self.parts.items():
            if part not in parts:
                raise DataError(
                    f"task {self.name!r} needs the part {part!r} of every example; example "
                    f"{example.id or example.text[:40]!r} has {', '.join(parts) or 'none'}"
                )
            parts[name] = parts[part]
        answer = example.answer
        return dataclasses.replace(
            example,
            choices=tuple(map(self._word, example.choices)),
            answer=self._word(answer) if answer in example.choices else answer,
            parts=parts,
        )

    def _word(self, text: str) -> str:
        return self.wording.get(text, text)

    def to_dict(self) -> dict[str, Any]:
        """Plain values with every default filled in."""
        return dataclasses.asdict(self)


def shipped_tasks() -> tuple[str, ...]:
    """Names of the tasks that come with layalign."""
    folder = resources.files("layalign.eval") / "tasks"
    names = (file.name for file in folder.iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml")))


def load_task(name: str, overrides: Sequence[str] = ()) -> Task:
    """Read a task.

    Args:
        name: A shipped task, or the path of a YAML file.
        overrides: ``dotted.key=value``, the value as in YAML: ``max_new_tokens=64``,
            ``template=checkpoint``, ``groups.low_resource=[sw, yo]``.

    Raises:
        ConfigError: There is no such task, or a setting is not valid.
    """
    with _file(name) as path:
        try:
            values = read_yaml(path)
            for override in overrides:
                apply_override(values, override)
            return from_mapping(Task, values, "")
        except (ConfigError, DataError) as error:
            raise ConfigError(f"task {name}: {error}") from error


@contextmanager
def _file(name: str) -> Iterator[Path]:
    if name.endswith((".yaml", ".yml")):
        yield Path(name)
        return
    known = shipped_tasks()
    if name not in known:
        raise ConfigError(
            f"unknown task {name!r}; expected one of {', '.join(known)}, or the path of a YAML "
            f"file{nearest(name, known)}"
        )
    with resources.as_file(resources.files("layalign.eval") / "tasks" / f"{name}.yaml") as path:
        yield path
