"""The summary of an evaluation, as :func:`layalign.eval.compare` makes it, as scores."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from layalign.eval.metrics import Estimate, Mean
from layalign.eval.report import main_score
from layalign.report.records import Difference, Figure, Language, Method, Scores

LABELS = {"bare_llm": "Bare LLM", "layalign": "LayAlign"}
"""Of systems, by the slug in the name of their predictions."""


class Column(NamedTuple):
    """A system of a summary."""

    slug: str
    predictions: Path

    @property
    def label(self) -> str:
        """What readers see."""
        return LABELS.get(self.slug, self.slug.replace("_", " "))


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
        groups={group: tuple(row["languages"]) for group, row in averages.items()},
        methods=tuple(
            Method(
                name=column.slug,
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
        reference=columns["bare"].label,
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


def existing(path: Path) -> Path | None:
    """A file if it is there."""
    return path if path.is_file() else None


def _gains(averages: Mapping[str, Mapping[str, Any]]) -> dict[str, Difference] | None:
    gains = {group: row["gain"] for group, row in averages.items() if row["gain"] is not None}
    return {group: Difference(figure=figure(gain)) for group, gain in gains.items()} or None
