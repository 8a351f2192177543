"""Two tiny models on disk, and a recipe of theirs with everything in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from factories import save_backbones

METHODS = ("base", "mindmerger", "layalign")


@pytest.fixture(scope="module")
def backbones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("backbones")
    save_backbones(root)
    return root


@pytest.fixture
def values(backbones: Path, tmp_path: Path) -> dict[str, Any]:
    """A recipe whose methods need a moment, as plain values."""
    rows = [
        {
            "id": str(number),
            "text": " ".join(["tatu", "mbili", "nne", "mayai"][number % 3 :]),
            "language": language,
            "target": f"the answer is {number}",
            "answer": str(number),
        }
        for number in range(6)
        for language in ("en", "sw", "th")
    ]
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = {"path": str(data)}
    trained = {**source, "languages": ["en", "sw"]}
    stage = {"lr": 1e-2, "batch_size": 2, "epochs": 1, "eval_every": 2}
    return {
        "output_dir": str(tmp_path / "unused"),
        "model": {
            "encoder": str(backbones / "encoder"),
            "language_model": str(backbones / "language_model"),
        },
        "processor": {"prompt_template": "{question} ="},
        "data": {
            "finetune": {"train": [{**source, "languages": ["en"]}]},
            "translation": {"train": [trained]},
            "task": {"train": [trained]},
            "evaluation": [source],
            "on_leak": "warn",
        },
        "stage": {"finetune": stage, "translation": stage, "task": stage},
        "evaluation": {"max_new_tokens": 4, "batch_size": 8},
        "comparison": {"budget": 10, "shares": {"translation": 0.25, "task": 0.75}},
    }


@pytest.fixture
def recipe(values: dict[str, Any], tmp_path: Path) -> Path:
    """The same as a file."""
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(values))
    return path
