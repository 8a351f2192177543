"""The summary of an evaluation, as :func:`layalign.eval.compare` makes it, as scores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from layalign.eval.metrics import Estimate, Mean
from layalign.eval.report import main_score
from layalign.report.records import Difference, Figure, Language, Method, Scores
from layalign.train.methods import METHODS

BARE = "bare_llm"
"""Slug of the bare language model, as it stands in the name of its predictions."""
_LABELS = {BARE: METHODS["base"].label, "layalign": METHODS["layalign"].label}


class Column(NamedTuple):
    """A system of a summary."""

    slug: str
    predictions: Path
    method: str | None = None
    """Name of the method that has made it; None if not known, and of the bare model."""

    @property
    def name(self) -> str:
        """What it is."""
        return self.method or self.slug

    @property
    def label(self) -> str:
        """What readers see."""
        if self.method is not None:
            return METHODS[self.method].label
        return _LABELS.get(self.slug, self.slug.replace("_", " "))


def with_method(
    columns: Mapping[str, Column], summary: Mapping[str, Any], recipe: Mapping[str, Any]
) -> dict[str, Column]:
    """Say by which method a run's own system was made.

    Args:
        columns: What stands in ``bare`` and ``layalign``.
        summary: With figures in ``bare`` alone, the system is a plain language model.
        recipe: Of the run, as far as it is known.
    """
    name = str(recipe.get("method"))
    method = METHODS.get(name)
    is_plain = all(row["layalign"] is None for row in summary["languages"].values())
    # With its English fine-tune alone, a language model is still the bare one.
    if method is None or (is_plain and method.language_model == ("finetune",)):
        return dict(columns)
    key = "bare" if is_plain else "layalign"
    return {**columns, key: columns[key]._replace(method=name)}


def summary_scores(
    summary: Mapping[str, Any],
    columns: Mapping[str, Column],
    *,
    title: str,
    asked: str,
    source: str,
    notes: tuple[str, ...] = (),
) -> Scores:
    """Turn a summary into scores.

    Args:
        summary: Needs ``languages`` and ``averages``.
        columns: What stands in ``bare`` and ``layalign``; columns without figures are left out.
        title: Of what was asked.
        asked: Equal for evaluations on the same questions.
        source: The folder, as the user named it.
        notes: Lines for below the table.
    """
    languages, averages = summary["languages"], summary["averages"]
    return Scores(
        title=title,
        asked=asked,
        unit=unit(summary.get("metric")),
        languages=read_languages(languages),
        groups=read_groups({group: row["languages"] for group, row in averages.items()}),
        methods=tuple(
            Method(
                name=column.name,
                label=column.label,
                source=source,
                languages={
                    tag: figure({**row[key], "value": main_score(row[key])})
                    for tag, row in languages.items()
                    if row[key] is not None
                },
                averages={g: figure(row[key]) for g, row in averages.items() if row[key]},
                versus=_gains(averages) if key == "layalign" else None,
                predictions=existing(column.predictions),
            )
            for key, column in columns.items()
            if any(row[key] is not None for row in languages.values())
        ),
        reference=_LABELS[BARE],
        notes=notes,
    )


def unit(metric: str | None) -> str:
    """What a metric counts in."""
    return "chrF" if metric == "translation" else "%"


def figure(values: Mapping[str, Any]) -> Figure:
    """Read ``value``, ``low`` and ``high``."""
    value, low, high = values["value"], values["low"], values["high"]
    if low is None or high is None:
        return Mean(value=float(value))
    return Estimate(value=float(value), low=float(low), high=float(high))


def read_languages(rows: Mapping[str, Mapping[str, Any]]) -> tuple[Language, ...]:
    """Read what is known of each language."""
    return tuple(
        Language(
            tag=tag,
            name=str(row["name"]),
            items=int(row["items"]),
            trained=None if row["trained"] is None else bool(row["trained"]),
        )
        for tag, row in rows.items()
    )


def read_groups(groups: Mapping[str, Iterable[object]]) -> dict[str, tuple[str, ...]]:
    """Read the language tags of every group."""
    return {group: tuple(map(str, tags)) for group, tags in groups.items()}


def existing(path: Path) -> Path | None:
    """A file if it is there."""
    return path if path.is_file() else None


def _gains(averages: Mapping[str, Mapping[str, Any]]) -> dict[str, Difference] | None:
    gains = {group: row["gain"] for group, row in averages.items() if row["gain"] is not None}
    return {group: Difference(figure=figure(gain)) for group, gain in gains.items()} or None
