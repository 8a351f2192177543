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

from layalign.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from layalign.eval.runner import Progress

_SECTIONS = ((True, "trained"), (False, "never_trained"), (None, "non_english"))
_AVERAGE_OF = {
    "trained": "Average, trained",
    "never_trained": "Average, never trained",
    "non_english": "Average, no English",
    "all": "Average, all",
}
_LEGEND = (
    "[]: 95 % interval. Gain: points over the bare LLM on the same items. Of English: share of\n"
    "the English accuracy of the bare LLM. The average of the trained languages leaves out English."
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
    for column in ("Bare LLM %", "LayAlign %", "Gain"):
        table.add_column(column, no_wrap=True)
    table.add_column("Of English", justify="right", no_wrap=True)
    rows, averages = summary["languages"].values(), summary["averages"]
    for trained, group in _SECTIONS:
        section = [row for row in rows if row["trained"] is trained]
        for row in section:
            table.add_row(*_language_cells(row))
        if section and group in averages:
            table.add_row(*_average_cells(group, averages[group]), style="bold", end_section=True)
    if len(rows) > 1:
        table.add_row(*_average_cells("all", averages["all"]), style="bold")
    return table


def print_comparison(
    console: Console, summary: Mapping[str, Any], *, title: str | None = None
) -> None:
    """Print the table, and below it what its columns mean."""
    console.print(comparison_table(summary, title=title))
    console.print(_LEGEND, style="dim", highlight=False, markup=False)


@contextmanager
def progress_bar(console: Console) -> Iterator[Progress]:
    """Show a bar with the time left; gives the callable that ``evaluate`` takes as ``progress``."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Bar(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task("evaluating", total=None)

        def report(done: int, total: int, label: str) -> None:
            bar.update(task, completed=done, total=total, description=label)

        yield report


def write_json(path: str | os.PathLike[str], values: Mapping[str, Any]) -> None:
    """Write a JSON file that is never seen half written.

    Raises:
        ConfigError: The place cannot be written to.
    """
    target = check_output(path)
    text = json.dumps(values, ensure_ascii=False, indent=2, allow_nan=False) + "\n"
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise _not_writable(target, error) from error


def check_output(path: str | os.PathLike[str]) -> Path:
    """Make the folder of an output file, so that a wrong path shows before the work is done.

    Raises:
        ConfigError: The path is a folder, or its folder cannot be made.
    """
    target = Path(path)
    if target.is_dir():
        raise ConfigError(f"{target} is a folder; expected the path of a JSON file to write")
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
        _accuracy(row["bare"]),
        _accuracy(row["layalign"]),
        _MISSING if row["gain"] is None else f"{row['gain']:+6.1f}",
        _MISSING if row["share_of_english"] is None else f"{row['share_of_english']:.0f} %",
    )


def _average_cells(group: str, average: Mapping[str, Any]) -> tuple[str, ...]:
    bare, ours, gain = (average[name] for name in ("bare", "layalign", "gain"))
    return (
        _AVERAGE_OF[group],
        "",
        _MISSING if bare is None else _interval(**bare),
        _interval(**ours),
        f"{gain['value']:+6.1f} [{gain['low']:+.0f}, {gain['high']:+.0f}]" if gain else _MISSING,
        "",
    )


def _accuracy(result: Mapping[str, float] | None) -> str:
    if result is None:
        return _MISSING
    return _interval(result["accuracy"], result["low"], result["high"])


def _interval(value: float, low: float, high: float) -> str:
    return f"{value:5.1f} [{low:.0f}-{high:.0f}]"  # the fixed width lines the numbers up
