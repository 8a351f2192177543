"""Tokens and keys of the environment are in nothing that is written or printed."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import yaml

from factories import save_backbones
from layalign.cli.main import main

SECRET = "b6d7-not-for-others"
NAMES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY", "MLFLOW_TRACKING_PASSWORD")


def test_secrets_stay_where_they_are(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for name in NAMES:
        monkeypatch.setenv(name, SECRET)
    caplog.set_level(logging.DEBUG)
    monkeypatch.chdir(tmp_path)
    common = {"name": "word_problems", "languages": ["sw"], "limit": 4}
    train, test = ({**common, "split": split} for split in ("dev", "test"))
    train["target"] = "english"
    values = {
        "output_dir": "run",
        "model": save_backbones(tmp_path),
        "processor": {"prompt_template": "the answer is"},
        "data": {"task": {"train": [train]}, "evaluation": [test]},
        "stage": {"task": {"batch_size": 2, "max_updates": 2, "eval_every": 1}},
        "evaluation": {"max_new_tokens": 2},
    }
    Path("recipe.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    assert main(["train", "recipe.yaml"]) == 0
    argv = ["evaluate", "run", "--tasks", "word_problems", "--languages", "en", "--limit", "1"]
    assert main([*argv, "--set", "max_new_tokens=2", "--output", "results"]) == 0
    assert main(["report", "run", "results"]) == 0
    assert main(["inspect", "nowhere"]) == 1
    written = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert {"run", "results"} <= {file.relative_to(tmp_path).parts[0] for file in written}
    assert not [file for file in written if SECRET.encode() in file.read_bytes()]
    assert SECRET not in caplog.text + "".join(capfd.readouterr())
