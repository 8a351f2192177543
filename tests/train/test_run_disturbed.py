"""Runs that are stopped, damaged, begun twice or out of room."""

from __future__ import annotations

import errno
import signal
import sys
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from layalign.errors import CheckpointError, ConfigError, StopError, TrainingError
from layalign.train.folder import explained_disk
from layalign.train.optimisation import training_arguments
from layalign.train.recipe import Recipe
from layalign.train.run import run_recipe
from layalign.train.stages import StageConfig
from layalign.train.status import read_status
from layalign.train.stopping import StopRequest


def run(values, **options):
    return run_recipe(Recipe.from_dict(values), **options)


def test_a_fine_tune_goes_on_from_its_checkpoint(plain_values, tmp_path):
    whole = run({**plain_values, "output_dir": str(tmp_path / "whole")})
    stop = StopRequest()
    seen = []

    def watch(phase, done, text):
        seen.append(text)
        if text.startswith("update 5/"):
            stop.receive(signal.SIGTERM)

    with pytest.raises(StopError, match=r"update 5 is saved in .*finetune-under-way") as found:
        run(plain_values, progress=watch, stop=stop)
    assert found.value.exit_code == 143
    status = read_status(tmp_path / "out")
    assert (status.state, status.phase, status.update) == ("stopped", "finetune", 5)
    assert status.checkpoint.endswith("checkpoint-5")
    seen.clear()
    resumed = run(plain_values, resume=True, progress=lambda phase, done, text: seen.append(text))
    assert seen[0].startswith("update 6/")
    assert resumed.stages["finetune"]["losses"] == whole.stages["finetune"]["losses"]
    found, expected = (
        (tmp_path / name / "language_model" / "model.safetensors").read_bytes()
        for name in ("out", "whole")
    )
    assert found == expected
    assert not (tmp_path / "out" / "finetune-under-way").exists()
    assert list((tmp_path / "out" / "language_model" / "tensorboard").iterdir())
    assert read_status(tmp_path / "out").state == "finished"


def test_a_damaged_fine_tune_is_not_built_on(plain_values, tmp_path):
    run(plain_values)
    (tmp_path / "out" / "summary.json").unlink()
    with (tmp_path / "out" / "language_model" / "model.safetensors").open("ab") as file:
        file.write(b"more")
    with pytest.raises(CheckpointError, match=r"language_model is damaged \(model.safetensors has"):
        run(plain_values, resume=True)
    assert read_status(tmp_path / "out").state == "failed"


def test_a_run_has_one_process(plain_values, tmp_path):
    def begin_again(phase, done, text):
        with pytest.raises(TrainingError, match=r"another process is at work in .*out; wait"):
            run(plain_values, resume=True)

    run(plain_values, progress=begin_again)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "x/config.json"),
        SafetensorError("I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_said_in_one_line(error, tmp_path):
    with (
        pytest.raises(TrainingError, match=r"^cannot write .* \(No space left on device\); what"),
        explained_disk(tmp_path),
    ):
        raise error
    with pytest.raises(ZeroDivisionError), explained_disk(tmp_path):
        raise ZeroDivisionError


def test_where_figures_can_be_sent(plain_values, monkeypatch):
    with pytest.raises(ConfigError, match="report to 'tensorbored'; expected one of wandb, tr"):
        run(plain_values, report_to=("tensorbored",))
    monkeypatch.setitem(sys.modules, "trackio", None)
    with pytest.raises(ConfigError, match=r"reporting to trackio needs .*: pip install trackio"):
        run(plain_values, report_to=("trackio",))
    arguments = training_arguments(StageConfig(), torch.device("cpu"), Path("x"), ("mlflow",))
    assert arguments.report_to == ["mlflow"]
