"""What memory the process takes."""

from __future__ import annotations

import os
import subprocess
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


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("said", [{}, {"MALLOC_ARENA_MAX": "4"}])
def test_freed_memory_is_kept_until_it_is_returned(said: dict[str, str]) -> None:
    """In a process of its own, and not where the environment has a say."""
    script = f"""
import numpy as np
from layalign.memory import keep_freed_memory, memory_gib, return_freed_memory
keep_freed_memory()
before = memory_gib()
for _ in range(2):
    del (held := [np.ones({SIZE} // 8)])[:]
print(memory_gib() - before)
return_freed_memory()
print(memory_gib() - before)
"""
    inherited = {name: value for name, value in os.environ.items() if "MALLOC" not in name}
    inherited.pop("GLIBC_TUNABLES", None)
    ran = subprocess.run(
        [sys.executable, "-c", script],
        env={**inherited, **said},
        capture_output=True,
        text=True,
        check=True,
    )
    kept, returned = map(float, ran.stdout.split())
    assert (kept > GIB / 2) == (not said)
    assert returned < GIB / 2
