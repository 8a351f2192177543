"""Show how far a comparison is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from layalign.comparison.scheduler import GridProgress

if TYPE_CHECKING:
    from rich.console import Console


@contextmanager
def grid_bars(console: Console) -> Iterator[GridProgress]:
    """Show a bar of cells, and below it what every running one does.

    Where nobody looks on, as in a log file, a line is written when something begins or ends.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

    if not console.is_terminal:
        yield _lines(console)
        return
    text = TextColumn("{task.fields[text]}", markup=False)
    with Progress(BarColumn(), MofNCompleteColumn(), text, console=console) as bars:
        every, rows = bars.add_task("", text="runs", total=None), dict[str, TaskID]()

        def report(done: int, total: int, running: Mapping[str, str]) -> None:
            bars.update(every, completed=done, total=total)
            for name in rows.keys() - running.keys():
                bars.remove_task(rows.pop(name))
            for name, doing in running.items():
                if name not in rows:
                    rows[name] = bars.add_task("", text="", total=None)
                bars.update(rows[name], text=f"{name}: {doing}"[:100])

        yield report


def _lines(console: Console) -> GridProgress:
    last: list[tuple[int, frozenset[str]]] = []

    def report(done: int, total: int, running: Mapping[str, str]) -> None:
        state = (done, frozenset(running))
        if last[-1:] != [state]:
            last[:] = [state]
            names = "; ".join(sorted(running)) or "none"
            console.print(
                f"{done} of {total} runs; running: {names}", highlight=False, markup=False
            )

    return report
