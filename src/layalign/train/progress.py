"""Telling somebody how a run is going."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from layalign.train.limits import Limits, Usage
from layalign.train.record import Record

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True, kw_only=True)
class TrainingProgress:
    """State of a stage after an update."""

    update: int
    """Updates done."""

    updates: int | None
    """Updates planned; None when only tokens or minutes end the stage."""

    tokens: int
    """Read so far, without padding."""

    fraction: float
    """Done, from 0 to 1."""

    loss: float
    """Token mean of the last update's loss, nats; NaN if that update was not made."""

    dev_loss: float | None
    """Token mean of the last development loss, nats; None before the first."""

    seconds: float
    """Since the stage began, over all sessions."""

    seconds_left: float | None
    """Estimate; None before anything is done."""

    def __str__(self) -> str:
        """One line for a terminal, without the time."""
        total = "" if self.updates is None else f"/{self.updates}"
        dev = "" if self.dev_loss is None else f", dev {self.dev_loss:.3f}"
        return f"update {self.update}{total}, loss {self.loss:.3f}{dev}"


ProgressCallback = Callable[[TrainingProgress], None]


def make_progress(limits: Limits, usage: Usage, record: Record) -> TrainingProgress:
    """Put the figures together."""
    fraction = limits.progress(usage)
    return TrainingProgress(
        update=usage.updates,
        updates=limits.updates,
        tokens=usage.tokens,
        fraction=fraction,
        loss=record.losses[-1],
        dev_loss=record.dev[-1].loss if record.dev else None,
        seconds=usage.seconds,
        seconds_left=usage.seconds * (1 - fraction) / fraction if fraction else None,
    )


RunProgress = Callable[[str, float, str], None]
"""``(phase, fraction, text)``: what a run is doing, how much of it is done, and figures."""


@contextmanager
def progress_bars(console: Console) -> Iterator[RunProgress]:
    """Show a bar for each phase, with the time left; gives what ``run_recipe`` takes.

    Where nobody looks on, as in a log file, a line is written for every tenth of a phase.
    """
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    if not console.is_terminal:
        yield _lines(console)
        return

    columns = (TextColumn("{task.description:<12}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.fields[text]}"), console=console) as bars:
        phases: dict[str, TaskID] = {}

        def report(phase: str, fraction: float, text: str = "") -> None:
            if phase not in phases:
                phases[phase] = bars.add_task(phase, total=1.0, text=text)
            bars.update(phases[phase], completed=fraction, text=text)

        yield report


def _lines(console: Console) -> RunProgress:
    done: dict[str, int] = {}

    def report(phase: str, fraction: float, text: str = "") -> None:
        tenth = int(10 * fraction)
        if tenth > done.get(phase, -1):
            done[phase] = tenth
            console.print(f"{phase} {10 * tenth} % {text}".rstrip(), highlight=False, markup=False)

    return report
