from __future__ import annotations

import io

from rich.console import Console

from layalign.comparison import grid_bars


def test_a_log_has_a_line_for_every_change() -> None:
    console = Console(file=io.StringIO(), width=200)
    with grid_bars(console) as report:
        for _ in range(3):
            report(0, 2, {"out/base-seed1": "finetune 10 %"})
        report(1, 2, {"out/layalign-seed1": "starting"})
        report(2, 2, {})
    assert console.file.getvalue().splitlines() == [  # type: ignore[attr-defined]
        "0 of 2 runs; running: out/base-seed1",
        "1 of 2 runs; running: out/layalign-seed1",
        "2 of 2 runs; running: none",
    ]


def test_a_terminal_shows_what_every_run_does() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=200, record=True)
    with grid_bars(console) as report:
        report(0, 2, {"out/base-seed1": "finetune [10 %]", "out/qalign-seed1": "starting"})
        report(1, 2, {"out/layalign-seed1": "task 20 %"})
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "1/2" in shown
    assert "out/layalign-seed1: task 20 %" in shown
