"""Shipped tasks on the real benchmarks, where they are present."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from layalign.cli.main import main
from layalign.eval import load_task

DATA = Path(__file__).parents[2] / ".." / "shared" / "data"

pytestmark = [
    pytest.mark.skipif(not DATA.is_dir(), reason="there is no real data in ../shared/data"),
]


def overrides(name: str) -> list[str]:
    return ["data.split=dev"] if name == "xnli" else []


@pytest.mark.parametrize("name", ["mgsm", "msvamp", "xcopa", "xnli"])
def test_the_data_fits_the_task(name: str) -> None:
    task = load_task(name, overrides(name))
    examples = task.examples(task.source(str(DATA), languages=["th", "tr", "sw"], limit=3))
    assert examples
    for example in examples:
        prompt = task.texts.prompt(example, "own")
        assert prompt.text
        assert "{" not in prompt.question


def test_several_tasks_at_once(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv: list[Any] = ["evaluate", tiny_checkpoint, "--tasks", "mgsm,msvamp,xcopa", "--data", DATA]
    argv += ["--languages", "sw,th,bn,de", "--limit", "1", "--max-new-tokens", "2", "--quiet"]
    assert main([*map(str, argv), "--output", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "msvamp (version 1, template paper version 1, generate)" in out
    assert "No data in sw, bn, de." in out  # the test split of XCOPA has Thai only
