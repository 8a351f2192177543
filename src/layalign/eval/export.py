"""Results of tasks as CSV and Markdown."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any

from layalign.eval.report import main_score, task_title

_SYSTEMS = ("bare", "layalign")
_COLUMNS = (
    *("task", "version", "template", "template_version", "scoring", "metric", "system"),
    *("language", "items", "score", "low", "high", "bleu", "unparsed", "seconds"),
    *("new_tokens", "tokens_per_second"),
)


def to_csv(tasks: Mapping[str, Mapping[str, Any]]) -> str:
    """Write one row for each task, system and language or group of languages.

    Args:
        tasks: The ``tasks`` of :func:`layalign.eval.evaluate_checkpoint`.

    Returns:
        CSV with a header. ``score`` is the accuracy in percent, of translations chrF; averages
        have ``average: GROUP`` as language. What is not known is empty.
    """
    file = io.StringIO()
    writer = csv.DictWriter(file, _COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for name, summary in tasks.items():
        template = summary["template"]
        shared = {
            "task": name,
            "version": summary["version"],
            "template": template["name"],
            "template_version": template["version"],
            "scoring": summary["scoring"],
            "metric": summary["metric"],
        }
        writer.writerows({**shared, **row} for row in _rows(summary))
    return file.getvalue()


def _rows(summary: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for system in _SYSTEMS:
        for tag, row in summary["languages"].items():
            if row[system] is not None:
                figures = {**row[system], "score": main_score(row[system])}
                yield {"system": system, "language": tag, **figures}
        for group, row in summary["averages"].items():
            if row[system] is not None:
                figures = {**row[system], "score": row[system]["value"]}
                yield {"system": system, "language": f"average: {group}", **figures}


def to_markdown(tasks: Mapping[str, Mapping[str, Any]]) -> str:
    """Write one table for each task.

    Args:
        tasks: The ``tasks`` of :func:`layalign.eval.evaluate_checkpoint`.
    """
    return "\n".join(
        f"## {task_title(name, summary)}\n\n{markdown_table(summary)}"
        for name, summary in tasks.items()
    )


def markdown_table(summary: Mapping[str, Any]) -> str:
    """Write the table of one task, or of anything else that was compared.

    Args:
        summary: Of :func:`layalign.eval.compare`, with its ``metric``.
    """
    return "".join(f"{line}\n" for line in _table(summary))


def _table(summary: Mapping[str, Any]) -> Iterator[str]:
    unit = "chrF" if summary["metric"] == "translation" else "%"
    yield f"| Language | Items | Bare LLM {unit} | LayAlign {unit} | Gain |"
    yield "| --- | ---: | ---: | ---: | ---: |"
    for row in summary["languages"].values():
        gain = "" if row["gain"] is None else f"{row['gain']:+.1f}"
        cells = [_cell(row[system]) for system in _SYSTEMS]
        yield f"| {row['name']} | {row['items']} | {cells[0]} | {cells[1]} | {gain} |"
    for group, row in summary["averages"].items():
        cells = [_cell(row[system]) for system in _SYSTEMS]
        gain = "" if row["gain"] is None else f"{row['gain']['value']:+.1f}"
        yield f"| *Average, {group.replace('_', ' ')}* | | {cells[0]} | {cells[1]} | {gain} |"


def _cell(figures: Mapping[str, Any] | None) -> str:
    if figures is None:
        return ""
    value = figures["value"] if "value" in figures else main_score(figures)
    low, high = figures["low"], figures["high"]
    return f"{value:.1f}" if low is None else f"{value:.1f} [{low:.1f}, {high:.1f}]"
