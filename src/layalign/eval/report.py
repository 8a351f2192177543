"""Show results as a terminal table and write them as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from layalign.durable import replace_file
from layalign.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from layalign.eval.runner import Progress

_SECTIONS = ((True, "trained"), (False, "never_trained"), (None, "non_english"))
_SECTION_GROUPS = tuple(group for _, group in _SECTIONS)
_AVERAGE_OF = {
    "trained": "Average, trained",
    "never_trained": "Average, never trained",
    "non_english": "Average, no English",
    "all": "Average, all",
}
_LEGEND = (
    "[]: 95 % interval. Gain: points over the bare LLM on the same items. Of English: share of\n"
    "the English score of the bare LLM. The average of the trained languages leaves out English."
)
_MISSING = "    -"


def comparison_table(summary: Mapping[str, Any], *, title: str | None = None) -> Table:
    """Lay out what :func:`layalign.eval.compare` returns as a table of at most 100 columns.

    Languages that were trained on come first, then those that never were, each with their
    average; intervals are 95 % intervals.

    Args:
        summary: Needs ``languages`` and ``averages``.
        title: Line above the table.
    """
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("Language", no_wrap=True)
    table.add_column("Items", justify="right")
    unit = "chrF" if summary.get("metric") == "translation" else "%"
    for column in (f"Bare LLM {unit}", f"LayAlign {unit}", "Gain"):
        table.add_column(column, no_wrap=True)
    table.add_column("Of English", justify="right", no_wrap=True)
    rows, averages = summary["languages"].values(), summary["averages"]
    for trained, group in _SECTIONS:
        section = [row for row in rows if row["trained"] is trained]
        for row in section:
            table.add_row(*_language_cells(row))
        if section and group in averages:
            table.add_row(*_average_cells(group, averages[group]), style="bold", end_section=True)
    further = [group for group in averages if group not in _SECTION_GROUPS]
    for group in further if len(rows) > 1 else ():  # of one language they say nothing new
        table.add_row(*_average_cells(group, averages[group]), style="bold")
    return table


def print_comparison(
    console: Console, summary: Mapping[str, Any], *, title: str | None = None
) -> None:
    """Print the table, and below it what its columns mean."""
    console.print(comparison_table(summary, title=title))
    console.print(_LEGEND, style="dim", highlight=False, markup=False)


def print_tasks(console: Console, tasks: Mapping[str, Mapping[str, Any]]) -> None:
    """Print the table of every task, and below it what the evaluation took."""
    for name, summary in tasks.items():
        console.print(comparison_table(summary, title=task_title(name, summary)))
        for line in _footer(summary):
            console.print(line, style="dim", highlight=False, markup=False)
    console.print(_LEGEND, style="dim", highlight=False, markup=False)


def task_title(name: str, summary: Mapping[str, Any]) -> str:
    """Name a task with all that its figures depend on."""
    template = summary["template"]
    return (
        f"{name} (version {summary['version']}, template {template['name']} version "
        f"{template['version']}, {summary['scoring']})"
    )


def _footer(summary: Mapping[str, Any]) -> Iterator[str]:
    for system, figures in summary["systems"].items():
        yield (
            f"{system}: {figures['unparsed']:.1f} % of the answers unparsed, "
            f"{figures['seconds']:.0f} s, {figures['tokens_per_second']:.0f} tokens/s"
        )
    if summary["missing_languages"]:
        yield f"No data in {', '.join(summary['missing_languages'])}."


@contextmanager
def progress_bar(console: Console) -> Iterator[Progress]:
    """Show a bar with the time left; gives the callable that ``evaluate`` takes as ``progress``."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Bar(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task("evaluating", total=None)

        def report(done: int, total: int, label: str = "") -> None:
            bar.update(task, completed=done, total=total, description=label)

        yield report


def write_json(path: str | os.PathLike[str], values: Mapping[str, Any]) -> None:
    """Write a JSON file that is never seen half written.

    Raises:
        ConfigError: The place cannot be written to.
    """
    write_text(path, json.dumps(values, ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a file that is never seen half written.

    Raises:
        ConfigError: The place cannot be written to.
    """
    target = check_output(path)
    try:
        replace_file(target, text.encode())
    except OSError as error:
        raise _not_writable(target, error) from error


def check_output(path: str | os.PathLike[str]) -> Path:
    """Make the folder of an output file, so that a wrong path shows before the work is done.

    Raises:
        ConfigError: The path is a folder, or its folder cannot be made.
    """
    target = Path(path)
    if target.is_dir():
        raise ConfigError(f"{target} is a folder; expected the path of a file to write")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _not_writable(target, error) from error
    return target


def _not_writable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(f"{path}: cannot be written ({error.strerror}); choose another place")


def _language_cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        row["name"],
        str(row["items"]),
        _score(row["bare"]),
        _score(row["layalign"]),
        _MISSING if row["gain"] is None else f"{row['gain']:+6.1f}",
        _MISSING if row["share_of_english"] is None else f"{row['share_of_english']:.0f} %",
    )


def _average_cells(group: str, average: Mapping[str, Any]) -> tuple[str, ...]:
    bare, ours, gain = (average[name] for name in ("bare", "layalign", "gain"))
    return (
        _AVERAGE_OF.get(group, f"Average, {group.replace('_', ' ')}"),
        "",
        _MISSING if bare is None else _interval(**bare),
        _MISSING if ours is None else _interval(**ours),
        _difference(**gain) if gain else _MISSING,
        "",
    )


def _score(result: Mapping[str, Any] | None) -> str:
    if result is None:
        return _MISSING
    return _interval(main_score(result), result["low"], result["high"])


def main_score(result: Mapping[str, Any]) -> float:
    """What systems are compared by: the accuracy, of translations chrF."""
    return float(result["accuracy"] if "accuracy" in result else result["chrf"])


def _interval(value: float, low: float | None, high: float | None) -> str:
    text = f"{value:5.1f}"  # the fixed width lines the numbers up
    return text if low is None else f"{text} [{low:.0f}-{high:.0f}]"


def _difference(value: float, low: float | None, high: float | None) -> str:
    text = f"{value:+6.1f}"
    return text if low is None else f"{text} [{low:+.0f}, {high:+.0f}]"
