import io

from rich.console import Console

import layalign.train
from layalign.train.limits import Limits, Usage
from layalign.train.progress import make_progress, progress_bars
from layalign.train.record import DevResult, Record


def test_time_left():
    record = Record(losses=[9.0, 1.23456], dev=[DevResult(update=4, loss=2.0)])
    state = make_progress(Limits(updates=10), Usage(updates=5, seconds=8), record)
    assert (state.fraction, state.seconds_left) == (0.5, 8.0)
    assert str(state) == "update 5/10, loss 1.235, dev 2.000"


def test_nothing_known():
    state = make_progress(Limits(seconds=60), Usage(), Record(losses=[1.0]))
    assert state.seconds_left is None
    assert str(state) == "update 0, loss 1.000"


def test_a_bar_for_each_phase():
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    with progress_bars(console) as report:
        report("translation", 0.5, "update 1/2")
        report("translation", 1.0, "update 2/2")
        report("task", 0.1, "update 1/10")
    shown = console.file.getvalue()
    assert "translation" in shown
    assert "update 2/2" in shown
    assert "update 1/10" in shown


def test_lines_where_nobody_looks_on():
    console = Console(file=io.StringIO(), width=100)
    with progress_bars(console) as report:
        for update in range(1, 101):
            report("task", update / 100, f"update {update}/100, loss [1]")
    lines = console.file.getvalue().splitlines()
    assert lines[0] == "task 0 % update 1/100, loss [1]"
    assert lines[1:] == [f"task {n} % update {n}/100, loss [1]" for n in range(10, 101, 10)]


def test_public_names():
    for name in layalign.train.__all__:
        assert getattr(layalign.train, name).__doc__
