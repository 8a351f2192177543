"""Parsing and scoring stay usable where there is no torch."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "module",
    ["eval.answers", "eval.metrics", "eval.runner", "eval.tasks", "eval.benchmarks", "data"],
)
def test_light_modules_do_not_import_torch(module: str) -> None:
    code = f"import sys, layalign.{module}; print(*{{'torch', 'transformers'}} & set(sys.modules))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
