from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from layalign.cli.main import main
from layalign.comparison import Comparison, compare_methods
from layalign.comparison.cells import Cell
from layalign.comparison.scheduler import CellRunner
from layalign.errors import ConfigError
from layalign.train.recipe import load_recipe
from layalign.train.run import run_recipe

MEASURED = ("training_seconds", "tokens_per_second", "relative_speed", "peak_memory_gib")


def compare(recipe: Path, output: Path, **options: Any) -> Comparison:
    options = {"methods": ["base", "layalign"], "seeds": [1], **options}
    (found,) = compare_methods([recipe], output=output, **options)
    return found


def repeatable(folder: Path) -> dict[str, Any]:
    """A table without what is measured anew each time."""
    table = json.loads((folder / "comparison.json").read_text("utf-8"))
    del table["commands"]
    for method in table["methods"].values():
        for name in MEASURED:
            method["cost"].pop(name)
    return table


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare every run the seconds that a process takes to begin."""

    def run(self: CellRunner, cells: Sequence[Cell]) -> None:
        for cell in cells:
            run_recipe(load_recipe(cell.file), resume=True)

    monkeypatch.setattr(CellRunner, "run", run)


@pytest.mark.usefixtures("in_process")
def test_one_command_makes_the_table(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    argv = ["compare", str(recipe), "--methods", "base,layalign", "--seeds", "1"]
    argv += ["--output", str(output), "--quiet"]
    assert main(argv) == 0
    shown = capsys.readouterr().out
    assert "small, 10 training examples each" in shown
    table = json.loads((output / "comparison.json").read_text("utf-8"))
    assert table["schema"] == 1
    assert table["equal"] == {"kind": "examples", "budget": 10}
    assert table["languages"]["sw"] == {"name": "Swahili", "trained": True, "items": 6}
    assert not table["languages"]["th"]["trained"]
    assert table["groups"]["never_trained"] == ["th"]
    base, ours = table["methods"]["base"], table["methods"]["layalign"]
    assert ours["versus"] is None
    assert base["versus"]["averages"]["all"]["verdict"] in ("better", "worse", "within noise")
    assert base["cost"]["relative_speed"] == 1
    assert base["cost"]["trained_parameters"] > ours["cost"]["trained_parameters"] > 0
    for method in table["methods"].values():
        for folder in method["runs"].values():
            assert (output / folder / "summary.json").is_file()
        for row in (*method["languages"].values(), *method["averages"].values()):
            assert 0 <= row["low"] <= row["value"] <= row["high"] <= 100
    rows = list(csv.DictReader(io.StringIO((output / "comparison.csv").read_text("utf-8"))))
    assert {row["method"] for row in rows} == {"base", "layalign"}
    assert "| LayAlign |" in (output / "comparison.md").read_text("utf-8")

    # Once more, nothing is run; one more method only adds to it.
    before = {path: path.stat().st_mtime_ns for path in output.glob("*/summary.json")}
    assert main([*argv, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [table]
    assert before == {path: path.stat().st_mtime_ns for path in output.glob("*/summary.json")}
    assert main([*argv, "--budget", "11"]) == 2
    assert "differ in methods.layalign" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_that_fails_leaves_the_others(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    (output / "mindmerger-seed1").mkdir(parents=True)
    (output / "mindmerger-seed1" / "recipe.yaml").write_text("no recipe")
    argv = ["compare", str(recipe), "--methods", "base,mindmerger,layalign", "--seeds", "1"]
    assert main([*argv, "--output", str(output), "--quiet", "--jobs", "2"]) == 1
    out, err = capsys.readouterr()
    assert "LayAlign" in out
    assert "MindMerger" not in out
    (line,) = err.splitlines()
    assert line.startswith(f"layalign: error: {output}/mindmerger-seed1: ")
    assert line.endswith(f"(see {output}/mindmerger-seed1.log)")


@pytest.mark.slow
def test_killed_and_started_again_it_is_the_same_table(
    recipe: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    argv = [sys.executable, "-m", "layalign", "compare", str(recipe), "--seeds", "1", "--quiet"]
    argv += ["--methods", "base,layalign", "--output", str(killed)]
    process = subprocess.Popen(argv)
    while not (killed / "layalign-seed1" / "task").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    finished = killed / "base-seed1" / "summary.json"
    before = finished.stat().st_mtime_ns
    assert subprocess.run(argv, check=False, stdout=subprocess.DEVNULL).returncode == 0
    assert finished.stat().st_mtime_ns == before
    request.getfixturevalue("in_process")
    compare(recipe, whole)
    assert repeatable(killed) == repeatable(whole)


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
def test_several_recipes_have_a_folder_each(recipe: Path, tmp_path: Path) -> None:
    other = recipe.with_name("other.yaml")
    values = yaml.safe_load(recipe.read_text())
    values["stage"]["finetune"] = None
    for path in (recipe, other):
        path.write_text(yaml.safe_dump(values))
    found = compare_methods(
        [recipe, other], methods=["layalign"], seeds=[1], output=tmp_path / "out"
    )
    assert [one.folder.name for one in found] == ["small", "other"]
    assert all((one.folder / "comparison.json").is_file() for one in found)
    with pytest.raises(ConfigError, match="two recipes are named 'small'"):
        compare_methods([recipe, tmp_path / "elsewhere" / "small.yaml"], methods=["layalign"])


def test_without_scipy(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    assert main(["compare", str(recipe), "--methods", "layalign"]) == 1
    assert "install layalign[analysis]" in capsys.readouterr().err
