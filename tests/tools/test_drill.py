"""The fault drill runs; all of it is `make drill`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")
def test_one_fault() -> None:
    paths = [str(ROOT / "tests"), *filter(None, sys.path)]
    done = subprocess.run(
        [sys.executable, "tools/drill/drill.py", "--only", "token ids: flip", "--workers", "1"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    *_, last = done.stdout.splitlines() or [done.stderr]
    assert last == "injected: 1, survived: 1, lost: 0"
    assert "| 1 | 1 | made again |" in done.stdout
