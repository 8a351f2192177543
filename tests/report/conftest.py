"""Folders to report on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from report_folders import evaluation, write, write_comparison, write_results, write_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", system="layalign", evaluation=evaluation(10, 40))


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return write_results(tmp_path / "results", ours=42)


@pytest.fixture
def comparison(tmp_path: Path) -> Path:
    return write_comparison(tmp_path / "comparison")


@pytest.fixture
def checkpoint(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """A run with trained weights."""
    folder = Path(shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint"))
    write(folder / "summary.json", {"stages": {}, "seed": 1})
    return folder
