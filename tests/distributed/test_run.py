"""Whole commands, by one process and by several: the same results, and one that speaks."""

from __future__ import annotations

import json
import signal
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest
from safetensors.torch import load_file

from distributed.launching import finish, launch, start
from factories import save_backbones
from layalign.eval.journal import read_predictions
from layalign.train.recipe import Recipe, save_recipe
from method_recipes import recipe_values, write_examples

pytestmark = [pytest.mark.distributed, pytest.mark.slow]

WORKER = str(Path(__file__).with_name("worker.py"))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("root")
    save_backbones(folder)
    write_examples(folder)
    return folder


def write_recipe(root: Path, folder: Path, **changes: Any) -> str:
    values = recipe_values(root, folder, **changes)
    values["stage"]["finetune"]["batch_size"] = 4
    for stage in values["stage"].values():
        stage |= {"eps": 1e-3, "micro_batch_size": 2}
    values["output_dir"] = str(folder / "out")
    folder.mkdir(exist_ok=True)
    save_recipe(folder / "recipe.yaml", Recipe.from_dict(values))
    return str(folder / "recipe.yaml")


def run(root: Path, folder: Path, *, processes: int, shared_by: str = "ddp", **changes: Any) -> Any:
    command = ["train", write_recipe(root, folder, **changes), "--json", "--quiet"]
    printed = launch([WORKER, "command", *command], processes=processes, shared_by=shared_by)
    assert printed.count('"output_dir"') == 1
    return json.loads((folder / "out" / "summary.json").read_text())


def test_a_recipe_gives_the_same_run(root: Path, tmp_path: Path) -> None:
    found = {
        name: run(root, tmp_path / name, processes=count, shared_by=shared_by)
        for name, count, shared_by in (("one", 1, "ddp"), ("ddp", 2, "ddp"), ("fsdp", 2, "fsdp2"))
    }
    for name in ("ddp", "fsdp"):
        for stage in ("finetune", "translation", "task"):
            losses, expected = (found[way]["stages"][stage]["losses"] for way in (name, "one"))
            assert losses == pytest.approx(expected, rel=1e-5), (name, stage)
        weights, wanted = (
            load_file(tmp_path / way / "out" / "model.safetensors") for way in (name, "one")
        )
        for key, weight in weights.items():
            assert (weight - wanted[key]).abs().max() < 1e-4, (name, key)
        assert not list((tmp_path / name / "out" / "predictions").glob("*.part*"))
        for system in ("layalign", "bare_llm"):
            rows, expected = (
                read_predictions(tmp_path / way / "out" / "predictions" / f"{system}.jsonl")
                for way in (name, "one")
            )
            assert [row.output for row in rows] == [row.output for row in expected]


@pytest.mark.deep
@pytest.mark.skipif(find_spec("deepspeed") is None, reason="deepspeed is not installed")
@pytest.mark.parametrize("shared_by", ["zero2", "zero3"])
def test_a_recipe_runs_under_deepspeed(root: Path, tmp_path: Path, shared_by: str) -> None:
    alone = run(root, tmp_path / "one", processes=1)
    found = run(root, tmp_path / "two", processes=2, shared_by=shared_by)
    for stage in ("finetune", "translation", "task"):
        expected = alone["stages"][stage]["losses"]
        assert found["stages"][stage]["losses"] == pytest.approx(expected, rel=1e-5), stage
    weights, wanted = (
        load_file(tmp_path / way / "out" / "model.safetensors") for way in ("two", "one")
    )
    for key, weight in weights.items():
        assert (weight - wanted[key]).abs().max() < 1e-4, key


@pytest.mark.deep
@pytest.mark.parametrize("method", ["multilingual_lora", "mindmerger_hard"])
def test_other_methods_run_too(root: Path, tmp_path: Path, method: str) -> None:
    found = run(root, tmp_path, processes=2, method=method)
    assert found["evaluation"]["systems"]


def test_an_evaluation_is_shared(root: Path, tmp_path: Path) -> None:
    run(root, tmp_path, processes=1)
    outputs = {}
    for count in (1, 3):
        folder = tmp_path / f"results-{count}"
        command = [
            *("evaluate", str(tmp_path / "out"), "--data", str(root / "data.jsonl")),
            *("--batch-size", "2", "--max-new-tokens", "4", "--output", str(folder), "--quiet"),
        ]
        printed = launch([WORKER, "command", *command], processes=count)
        assert printed.count("avg all") <= 1  # one process prints the table
        (file,) = folder.glob("*.layalign.jsonl")
        outputs[count] = [(row.id, row.output, row.correct) for row in read_predictions(file)]
        assert not list(folder.glob("*.part*"))
    assert outputs[1] == outputs[3]
    assert len(outputs[1]) == 8


def test_a_mistake_is_named_by_every_process_and_nothing_hangs(root: Path, tmp_path: Path) -> None:
    command = ["train", write_recipe(root, tmp_path), "--set", "stage.task.lrate=1"]
    process = start([WORKER, "command", *command], processes=2)
    printed = finish(process)
    assert process.returncode != 0
    assert "layalign: error: " in printed
    assert "lrate" in printed


@pytest.mark.deep
def test_what_fails_in_the_main_process_alone_ends_all(root: Path, tmp_path: Path) -> None:
    recipe = write_recipe(root, tmp_path)
    (tmp_path / "out").write_text("in the way")
    process = start([WORKER, "command", "train", recipe], processes=2)
    printed = finish(process)
    assert process.returncode != 0
    assert "choose another output_dir" in printed


def start_until_checkpoint(command: list[str], folder: Path) -> Any:
    """Start two processes; return when the stage of the task has a checkpoint."""
    process = start([WORKER, "command", *command], processes=2)
    while not (folder / "out" / "task" / "checkpoint-2").is_dir():
        assert process.poll() is None, finish(process)
        time.sleep(0.1)
    return process


@pytest.mark.deep
@pytest.mark.parametrize("told", ["launcher", "one process"])
def test_a_run_that_is_told_to_end_goes_on(root: Path, tmp_path: Path, told: str) -> None:
    recipe = write_recipe(root, tmp_path)
    command = ["train", recipe, "--set", "stage.task.epochs=60", "--resume", "--quiet"]
    process = start_until_checkpoint(command, tmp_path)
    *_, last = psutil.Process(process.pid).children()
    # The launcher tells all processes; one that is told alone tells the others.
    (process if told == "launcher" else last).send_signal(signal.SIGTERM)
    assert "it can be resumed" in finish(process)
    assert list((tmp_path / "out" / "task").glob("checkpoint-*"))
    launch([WORKER, "command", *command], processes=1)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["stages"]["task"]["updates"] == 120


@pytest.mark.deep
@pytest.mark.parametrize("killed", [0, 1])
def test_a_run_of_which_one_process_is_killed_goes_on(
    root: Path, tmp_path: Path, killed: int
) -> None:
    longer = ["--set", "stage.task.epochs=30", "--resume", "--quiet"]
    expected, found = tmp_path / "undisturbed", tmp_path / "killed"
    launch([WORKER, "command", "train", write_recipe(root, expected), *longer], processes=2)
    command = ["train", write_recipe(root, found), *longer]
    process = start_until_checkpoint(command, found)
    psutil.Process(process.pid).children()[killed].kill()
    printed = finish(process)
    assert process.returncode != 0
    assert "another process has ended" in printed
    assert "unexpected" not in printed
    assert not (found / "out" / "summary.json").exists()
    launch([WORKER, "command", *command], processes=2)
    summaries = (
        json.loads((way / "out" / "summary.json").read_text()) for way in (found, expected)
    )
    losses, wanted = (summary["stages"]["task"]["losses"] for summary in summaries)
    assert losses == pytest.approx(wanted, rel=1e-5)
    weights, others = (load_file(way / "out" / "model.safetensors") for way in (found, expected))
    for key, weight in weights.items():
        assert (weight - others[key]).abs().max() < 1e-4, key
