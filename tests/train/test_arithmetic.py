"""The choice of the arithmetic, with clocks that say what we like."""

from __future__ import annotations

from itertools import count

import pytest

from layalign.train import arithmetic
from layalign.train.arithmetic import fastest_arithmetic


def clock(bfloat16: float, float32: float, busy: set[int]) -> object:
    """Readings before and after each product, bfloat16 first; a busy machine takes a second."""
    now, reading = 0.0, count()

    def read() -> float:
        nonlocal now
        i = next(reading)
        if i % 2:
            now += 1.0 if i // 2 in busy else (bfloat16, float32)[i // 2 % 2]
        return now

    return read


@pytest.mark.parametrize(
    ("bfloat16", "float32", "expected"),
    [(1e-3, 4e-3, "bfloat16"), (1e-3, 1.1e-3, "float32"), (4e-3, 1e-3, "float32")],
)
def test_the_faster_one_also_on_a_machine_that_is_busy_for_a_while(
    monkeypatch: pytest.MonkeyPatch, bfloat16: float, float32: float, expected: str
) -> None:
    for busy in (set(), set(range(12)), set(range(0, 30, 2)), set(range(1, 31, 2))):
        monkeypatch.setattr(arithmetic.time, "perf_counter", clock(bfloat16, float32, busy))
        assert fastest_arithmetic("cpu")[0] == expected


def test_a_gpu_needs_no_measurement() -> None:
    assert fastest_arithmetic("cuda") == ("bfloat16", None)
