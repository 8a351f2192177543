"""Cells are processes; here short ones that do nothing but leave a summary."""

from __future__ import annotations

import fcntl
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

import layalign.comparison.scheduler as scheduler
from layalign.comparison.cells import Cell, Grid
from layalign.comparison.scheduler import CellRunner

FINISH = (
    "import pathlib, sys; f = pathlib.Path(sys.argv[1]); f.mkdir(); "
    "(f.parent / 'order').open('a').write(f.name + '\\n'); (f / 'summary.json').touch()"
)
FAIL = "import sys; print('progress'); sys.exit('layalign: error: no luck')"
WAIT = "import time; print('waiting', flush=True); time.sleep(60)"


@pytest.fixture
def cells(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> list[Cell]:
    made = Grid(recipe, ("base", "mindmerger", "layalign"), (1, 2), (), recipe.parent / "out").cells
    for cell in made:
        cell.claim()
    act(monkeypatch, lambda cell: FINISH)
    return made


def act(monkeypatch: pytest.MonkeyPatch, script: Callable[[Cell], str]) -> None:
    def command(cell: Cell) -> list[str]:
        return [sys.executable, "-I", "-S", "-c", script(cell), str(cell.folder)]

    monkeypatch.setattr(scheduler, "command", command)


def order(cells: list[Cell]) -> list[str]:
    return (cells[0].folder.parent / "order").read_text().split()


def test_one_after_the_other(cells: list[Cell]) -> None:
    runner = CellRunner()
    runner.run(cells)
    assert order(cells) == [cell.folder.name for cell in cells]
    assert not runner.failures


def test_side_by_side_but_after_the_fine_tune(cells: list[Cell]) -> None:
    most = 0

    def progress(done: int, total: int, running: Mapping[str, str]) -> None:
        nonlocal most
        most = max(most, len(running))
        assert total == 6

    CellRunner(3, progress).run(cells)
    assert most > 1
    found = order(cells)
    assert sorted(found) == sorted(cell.folder.name for cell in cells)
    for seed in (1, 2):
        assert found.index(f"base-seed{seed}") < found.index(f"layalign-seed{seed}")


def test_finished_cells_are_left_alone(cells: list[Cell]) -> None:
    cells[0].folder.mkdir()
    (cells[0].folder / "summary.json").touch()
    CellRunner().run(cells)
    assert order(cells) == [cell.folder.name for cell in cells[1:]]
    CellRunner().run(cells)
    assert len(order(cells)) == 5


def test_what_fails_takes_only_what_begins_with_it(
    cells: list[Cell], monkeypatch: pytest.MonkeyPatch
) -> None:
    act(monkeypatch, lambda cell: FAIL if cell is cells[0] else FINISH)
    cells[0].log.write_text("layalign: error: of an earlier session\n")
    runner = CellRunner()
    runner.run(cells)
    assert order(cells) == [cell.folder.name for cell in cells[3:]]
    reason = f"not run, because {cells[0].folder} failed"
    assert runner.failures == {
        str(cells[0].folder): f"no luck (see {cells[0].log})",
        str(cells[1].folder): reason,
        str(cells[2].folder): reason,
    }


def test_a_killed_process_is_told_from_one_that_failed(
    cells: list[Cell], monkeypatch: pytest.MonkeyPatch
) -> None:
    act(monkeypatch, lambda cell: "import os; os.kill(os.getpid(), 9)")
    runner = CellRunner()
    runner.run(cells[:1])
    assert runner.failures[str(cells[0].folder)].startswith("ended by signal 9 (see ")


def test_an_interruption_ends_what_runs(cells: list[Cell], monkeypatch: pytest.MonkeyPatch) -> None:
    act(monkeypatch, lambda cell: WAIT)

    def progress(done: int, total: int, running: Mapping[str, str]) -> None:
        if "waiting" in running.values():
            raise KeyboardInterrupt

    runner = CellRunner(2, progress)
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        runner.run(cells)
    assert time.monotonic() - start < 30
    assert all(process.process.returncode for process in runner.running)


def test_a_cell_that_another_comparison_runs_is_waited_for(cells: list[Cell]) -> None:
    cell = cells[0]
    with cell.log.open("ab") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        shown: list[Mapping[str, str]] = []
        runner = CellRunner(progress=lambda done, total, running: shown.append(running))
        thread = threading.Thread(target=runner.run, args=([cell],))
        thread.start()
        time.sleep(0.5)
        assert not cell.folder.exists()
        cell.folder.mkdir()
        (cell.folder / "summary.json").touch()
        thread.join(timeout=20)
    assert not thread.is_alive()
    assert shown[0] == {str(cell.folder): "in a process of an earlier comparison"}
    assert not (cell.folder.parent / "order").exists()


def test_cells_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert "OMP_NUM_THREADS" not in scheduler._environment(1, None)
    assert scheduler._environment(3, None)["OMP_NUM_THREADS"] == "2"
    assert scheduler._environment(16, None)["OMP_NUM_THREADS"] == "1"


def test_cells_take_turns_on_the_gpus(cells: list[Cell], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert scheduler.gpus() == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    assert scheduler._environment(1, "6")["CUDA_VISIBLE_DEVICES"] == "4,6"
    assert scheduler._environment(2, "6")["CUDA_VISIBLE_DEVICES"] == "6"
    tell = "import os, sys; f = open(sys.argv[1] + '.gpu', 'w'); "
    tell += "f.write(os.environ['CUDA_VISIBLE_DEVICES']); f.close(); "
    act(monkeypatch, lambda cell: tell + "import time; time.sleep(1); " + FINISH)
    CellRunner(4).run([cell for cell in cells if cell.after is None])
    used = [Path(f"{cell.folder}.gpu").read_text() for cell in cells if cell.after is None]
    assert sorted(used) == ["4", "6"]
