"""What ``make sbom`` tells cyclonedx-py of layalign itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import layalign

ROOT = Path(__file__).parents[2]


def test_the_version_is_written_out(tmp_path: Path) -> None:
    tomllib = pytest.importorskip("tomllib")  # since Python 3.11
    file = tmp_path / "release" / "pyproject.toml"
    command = ["make", "--silent", f"VENV={tmp_path}", f"BIN={Path(sys.executable).parent}", file]
    subprocess.run(command, cwd=ROOT, check=True)
    found, own = (tomllib.loads(one.read_text("utf-8")) for one in (file, ROOT / "pyproject.toml"))
    assert found["project"].pop("version") == layalign.__version__
    assert own["project"].pop("dynamic") == ["version"]
    assert found == own
