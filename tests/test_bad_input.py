"""Every row of the table of bad inputs: one line, the right status, and never a traceback."""

from __future__ import annotations

import io
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from bad_inputs import (
    CALLS,
    CHECKPOINTS,
    COMMANDS,
    DATA,
    RECIPE_TEXTS,
    RECIPES,
    USAGE,
    USAGE_STATUS,
    Damaged,
    Data,
)
from factories import save_backbones
from layalign.cli.main import main
from layalign.errors import LayAlignError

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a row is run."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def checkpoint(folder: Path, tiny_checkpoint: Path) -> Path:
    """A good checkpoint, there to be damaged."""
    shutil.copytree(tiny_checkpoint, folder / "checkpoint")
    return folder / "checkpoint"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe without a mistake."""
    place = tmp_path_factory.mktemp("recipe")
    sources = [{"name": "word_problems", "split": "dev", "languages": ["sw"], "target": "english"}]
    values = {
        "output_dir": str(place / "out"),
        "model": save_backbones(place),
        "data": {"translation": {"train": sources}},
        "stage": {"translation": {"batch_size": 2, "max_updates": 2}},
    }
    (place / "recipe.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    return place / "recipe.yaml"


def check(command: str, status: int, message: str, capsys: Captured) -> None:
    """Run a command, and look at what it leaves."""
    try:
        found: Any = main(["--quiet", *shlex.split(command)])
    except SystemExit as left:  # wrong usage
        found = left.code
    out, err = capsys.readouterr()
    line = err.splitlines()[-1]
    assert re.search(message, line), line
    assert line.startswith("layalign: error: ")
    assert "--debug" not in line, "an error that nobody has thought of"
    assert "Traceback" not in err
    assert (found, out) == (status, "")


@pytest.mark.parametrize("arguments", USAGE)
def test_usage(arguments: str, capsys: Captured) -> None:
    check(arguments, USAGE_STATUS, USAGE[arguments], capsys)


@pytest.mark.parametrize("text", RECIPE_TEXTS, ids=lambda text: repr(text[:30]))
def test_files_of_recipes(text: str | bytes, folder: Path, capsys: Captured) -> None:
    (folder / "r.yaml").write_bytes(text.encode() if isinstance(text, str) else text)
    check("train r.yaml", USAGE_STATUS, f"r.yaml: .*{RECIPE_TEXTS[text]}", capsys)


@pytest.mark.parametrize("change", RECIPES, ids=lambda change: change[:50])
def test_recipes(change: str, recipe: Path, capsys: Captured) -> None:
    command = f"train {recipe} --dry-run --set {shlex.quote(change)}"
    check(command, USAGE_STATUS, RECIPES[change], capsys)


@pytest.mark.parametrize("row", DATA, ids=lambda row: f"{row.name[-9:]} {row.message[:30]}")
def test_data(row: Data, folder: Path, capsys: Captured) -> None:
    if row.content is not None:
        content = row.content.encode() if isinstance(row.content, str) else row.content
        (folder / row.name).write_bytes(content)
    check(f"data check {row.name} --strict {row.arguments}", row.status, row.message, capsys)


@pytest.mark.parametrize("row", CHECKPOINTS, ids=lambda row: f"{row.command[:8]} {row.message}")
def test_checkpoints(row: Damaged, checkpoint: Path, capsys: Captured) -> None:
    row.prepare(checkpoint)
    check(row.command, row.status, row.message, capsys)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[:60])
def test_commands(command: str, checkpoint: Path, capsys: Captured) -> None:
    check(command, *COMMANDS[command], capsys)


@pytest.mark.parametrize(("call", "error", "message"), CALLS, ids=[row[2] for row in CALLS])
def test_calls(
    call: Callable[[Path], Any],
    error: type[LayAlignError],
    message: str,
    checkpoint: Path,
) -> None:
    with pytest.raises(error, match=message) as caught:
        call(checkpoint.parent)
    assert "\n" not in str(caught.value)
    assert issubclass(error, LayAlignError)


def test_an_interrupted_run_with_damaged_results(recipe: Path, capsys: Captured) -> None:
    out = recipe.parent / "out"
    out.mkdir()
    (out / "summary.json").write_text(json.dumps([]))
    check(f"train {recipe} --resume", 1, "summary.json is damaged .*; delete it", capsys)


def test_standard_input_in_another_encoding(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff\n"), encoding="utf-8"))
    check("generate checkpoint -", 1, "standard input is no utf-8 text", capsys)


def test_names_of_files_do_not_reach_the_terminal_as_they_are(
    folder: Path, capsys: Captured
) -> None:
    check(
        "train 'a\x1b[31m.yaml'", USAGE_STATUS, r"error: a\\x1b\[31m.yaml: cannot be read", capsys
    )


def test_aliases_that_stand_for_more_than_fits_in_memory(folder: Path, capsys: Captured) -> None:
    lines = ["- &a0 [" + "x," * 9 + "]"]
    lines += [f"- &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 20)]
    (folder / "r.yaml").write_text("model:\n" + "\n".join(lines), encoding="utf-8")
    check("train r.yaml", USAGE_STATUS, "model is .*; expected a mapping of settings", capsys)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
@pytest.mark.parametrize(
    ("output", "status", "line"), [(">/dev/full", 1, "free space"), (">&-", 0, "")]
)
def test_output_that_takes_nothing(output: str, status: int, line: str) -> None:
    command = f"{shlex.quote(sys.executable)} -m layalign models list {output}"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (status, False)
    assert line in done.stderr
    assert "--debug" not in done.stderr
