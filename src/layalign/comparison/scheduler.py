"""Run cells as processes of their own, some at a time."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from layalign.comparison.cells import Cell
from layalign.durable import lock

GridProgress = Callable[[int, int, Mapping[str, str]], None]
"""``(done, total, running)``: cells finished or given up, cells in all, and for each that runs what
it is doing."""

_POLL = 0.2  # seconds
_ERROR = "layalign: error: "


@dataclass
class CellRunner:
    """Runs cells; those that are finished are left alone, those begun before go on.

    A process of its own for each cell keeps its memory, its peak and its crash to itself. While it
    runs it holds a lock on its log, which outlives a comparison that is killed: the next one waits
    for such a cell in place of starting it twice.
    """

    jobs: int = 1
    """Cells at a time; they share the processor cores, and where there are several GPUs take turns
    on them."""

    progress: GridProgress | None = None
    failures: dict[str, str] = field(default_factory=dict)
    """What went wrong, by the cell's name."""

    def run(self, cells: Sequence[Cell]) -> None:
        """Run all cells, each after the one that it begins with.

        An interruption ends the processes; what they have done stays, and the next run goes on.
        """
        waiting, self.elsewhere = [cell for cell in cells if not cell.is_finished], list[str]()
        self.done, self.total = len(cells) - len(waiting), len(cells)
        self.running: list[_Process] = []
        try:
            while waiting or self.running:
                self.elsewhere.clear()
                waiting = [cell for cell in waiting if not self._taken(cell)]
                self._report()
                time.sleep(_POLL if self.running or waiting else 0)
                self._collect()
        finally:
            for process in self.running:
                process.end()
        self._report()

    def _taken(self, cell: Cell) -> bool:
        """Start a cell, or give it up, if its turn has come."""
        before = cell.after
        if before is not None and before.name in self.failures:
            self._settle(cell, f"not run, because {before.name} failed")
            return True
        if cell.is_finished:  # by another comparison
            self._settle(cell)
            return True
        if len(self.running) >= self.jobs or (before is not None and not before.is_finished):
            return False
        process = _Process.start(cell, self.jobs, self._freest_gpu())
        if process is None:
            self.elsewhere.append(cell.name)
            return False
        self.running.append(process)
        return True

    def _freest_gpu(self) -> str | None:
        taken = [process.gpu for process in self.running]
        return min(gpus(), key=taken.count, default=None)

    def _collect(self) -> None:
        for process in [one for one in self.running if one.process.poll() is not None]:
            self.running.remove(process)
            self._settle(process.cell, process.failure())

    def _settle(self, cell: Cell, failure: str | None = None) -> None:
        self.done += 1
        if failure is not None:
            self.failures[cell.name] = failure

    def _report(self) -> None:
        if self.progress is not None:
            running = {process.cell.name: process.last_line() for process in self.running}
            others = dict.fromkeys(self.elsewhere, "in a process of an earlier comparison")
            self.progress(self.done, self.total, {**running, **others})


class _Process:
    """A cell that runs."""

    def __init__(
        self, cell: Cell, process: subprocess.Popen[bytes], logged: int, gpu: str | None
    ) -> None:
        self.cell, self.process, self.gpu = cell, process, gpu
        self.logged = logged  # bytes of earlier sessions

    @classmethod
    def start(cls, cell: Cell, jobs: int, gpu: str | None) -> _Process | None:
        """Start it, unless it is running already."""
        with cell.log.open("ab") as log:
            if not lock(log):
                return None
            logged = log.tell()
            process = subprocess.Popen(
                command(cell),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=_environment(jobs, gpu),
            )
        return cls(cell, process, logged, gpu)

    def last_line(self) -> str:
        """What it is doing."""
        return next(reversed(self._lines()), "starting")

    def _lines(self) -> list[str]:
        text = self.cell.log.read_bytes()[self.logged :].decode(errors="replace")
        return [line.strip() for line in text.splitlines() if line.strip()]

    def failure(self) -> str | None:
        """Why it has failed, if it has."""
        code = self.process.returncode
        if code == 0 and self.cell.is_finished:
            return None
        errors = [line for line in self._lines() if line.startswith(_ERROR)]
        how = errors[-1].removeprefix(_ERROR) if errors else self.last_line()
        if code < 0:
            how = f"ended by signal {-code}"
        return f"{how} (see {self.cell.log})"

    def end(self) -> None:
        """Stop it, which saves what it has done."""
        self.process.terminate()
        self.process.wait()


def command(cell: Cell) -> list[str]:
    """How a cell is run."""
    return [sys.executable, "-m", "layalign", "train", os.fspath(cell.file), "--resume"]


def gpus() -> list[str]:
    """The GPUs that cells may use, by the names that CUDA takes."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",") if named else [str(i) for i in range(torch.cuda.device_count())]


def _environment(jobs: int, gpu: str | None) -> dict[str, str]:
    """Cells that run beside each other share the cores, and have one GPU each if there are any."""
    if jobs == 1:
        return dict(os.environ)
    own: dict[str, str] = {} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {**os.environ, **own, "OMP_NUM_THREADS": str(max(1, (cores or 1) // jobs))}
