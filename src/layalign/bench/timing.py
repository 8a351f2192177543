"""Time several ways of doing the same, side by side."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from layalign.errors import ConfigError
from layalign.memory import (
    memory_gib,
    peak_memory_gib,
    reset_peak_memory,
    return_freed_memory,
)

Run = Callable[[], object]
LAYALIGN, BARE, PUBLISHED = "layalign", "bare", "published"
_MIN_REPEATS = 5


@dataclass(frozen=True, kw_only=True)
class Timed:
    """Seconds of every run, and what one run of ours took beside time."""

    seconds: Mapping[str, list[float]]
    """Of each way, in the order in which they were run."""

    flops: int
    """Operations of the matrix products of a run of ours."""

    peak_gib: float | None
    """Most memory during that run, weights and all, GiB."""

    work_gib: float | None
    """How much of it was not there before that run."""

    def median(self, name: str) -> float:
        """Median of the seconds of a way."""
        return statistics.median(self.seconds[name])

    def ratio(self, name: str) -> float | None:
        """How many times as long as another way ours takes: the median of the rounds' ratios.

        Returns:
            None if that way was not run.
        """
        if name not in self.seconds:
            return None
        pairs = zip(self.seconds[LAYALIGN], self.seconds[name], strict=True)
        return statistics.median(own / other for own, other in pairs)

    def figures(self) -> dict[str, float | None]:
        """Ratios and seconds, as plain values of a row."""
        own = self.seconds[LAYALIGN]
        return {
            **{f"ratio_to_{name}": self.ratio(name) for name in (BARE, PUBLISHED)},
            "seconds": self.median(LAYALIGN),
            "seconds_min": min(own),
            "seconds_max": max(own),
            **{
                f"{name}_seconds": self.median(name) if name in self.seconds else None
                for name in (BARE, PUBLISHED)
            },
            f"{BARE}_seconds_min": min(self.seconds[BARE]) if BARE in self.seconds else None,
        }


def check_repeats(repeats: int) -> None:
    """See that there are enough rounds for a median to mean something.

    Raises:
        ConfigError: There are too few.
    """
    if repeats < _MIN_REPEATS:
        raise ConfigError(f"repeats is {repeats}; expected at least {_MIN_REPEATS}")


def time_runs(runs: Mapping[str, Run], *, device: str, repeats: int) -> Timed:
    """Run every way in turn, round after round, so that a slow spell of the machine meets all.

    The first round warms up and is not timed; in it the operations and the memory of ours are read.

    Args:
        runs: By name, :data:`LAYALIGN` among them.
        device: Where they run.
        repeats: Timed rounds.
    """
    seen = observe(runs[LAYALIGN])
    for name in runs:
        if name != LAYALIGN:
            runs[name]()
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            seconds[name].append(seconds_of(run, device))
    return Timed(seconds=seconds, **seen)


def observe(run: Run) -> dict[str, Any]:
    """Run once and see what it takes beside time: the other fields of :class:`Timed`."""
    return_freed_memory()
    reset_peak_memory()
    before = memory_gib()
    with FlopCounterMode(display=False) as counter:
        run()
    peak = peak_memory_gib()
    work = None if before is None or peak is None else max(peak - before, 0.0)
    return {"flops": int(counter.get_total_flops()), "peak_gib": peak, "work_gib": work}


def seconds_of(run: Run, device: str) -> float:
    """Wall-clock seconds of a run, until the device is done."""
    synchronise(device)
    start = time.perf_counter()
    run()
    synchronise(device)
    return time.perf_counter() - start


def synchronise(device: str) -> None:
    """Wait until a device has done what it was told."""
    if torch.device(device).type != "cpu":
        torch.accelerator.synchronize(torch.device(device))
