"""What memory the process takes."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from layalign.memory import memory_gib, peak_memory_gib, reset_peak_memory

SIZE = 2**26  # bytes; larger than what the C library keeps
GIB = SIZE / 2**30


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_the_peak_outlives_its_cause_until_it_is_reset() -> None:
    reset_peak_memory()
    before = peak_memory_gib()
    assert before == pytest.approx(memory_gib(), abs=GIB / 4)
    del (held := [np.ones(SIZE // 8)])[:]
    assert peak_memory_gib() - before == pytest.approx(GIB, rel=0.3)
    assert memory_gib() - before < GIB / 2
    reset_peak_memory()
    assert peak_memory_gib() - before < GIB / 2
    assert not held
