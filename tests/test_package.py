"""The package's front door: quick to open, and everything behind it."""

from __future__ import annotations

import subprocess
import sys

import pytest

import layalign


def test_import_is_light() -> None:
    code = "import sys, layalign; print(*{'torch', 'transformers', 'rich'} & set(sys.modules))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("name", layalign.__all__)
def test_public_names_exist(name: str) -> None:
    assert getattr(layalign, name).__name__ == name
    assert name in dir(layalign)


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'LayalignModel'"):
        _ = layalign.LayalignModel
