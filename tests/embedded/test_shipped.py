"""The checkpoints in the package: small, complete, and bound to nothing on one machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from layalign.embedded import models_table, shipped_checkpoints
from layalign.embedded.registry import MODELS
from layalign.errors import CheckpointError
from layalign.generation import generate
from layalign.model.checkpoint import describe, find_folder
from layalign.model.lora import lora_base

every = pytest.mark.parametrize(("name", "folder"), shipped_checkpoints().items())


def test_there_is_one() -> None:
    assert "smollm2-e5" in shipped_checkpoints()
    with pytest.raises(CheckpointError, match="smollm2-e5"):
        find_folder("smollm2-e6")


@every
def test_it_is_small_and_has_a_card(name: str, folder: Path) -> None:
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) <= 10e6
    for file in files:
        if file.suffix == ".safetensors":
            assert {t.dtype for t in load_file(file).values()} == {torch.bfloat16}
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert all(word in card for word in ("MSVAMP", "MGSM", "translation", "licence"))


@every
def test_it_names_embedded_models_and_no_place(name: str, folder: Path) -> None:
    summary = describe(name)
    assert {summary["encoder"], summary["language_model"]} <= set(MODELS)
    base = lora_base(str(folder / "language_model"))
    assert base is not None
    assert base.name_or_path in MODELS
    for file in folder.rglob("*.json"):
        assert not [v for v in strings(json.loads(file.read_text())) if v.startswith(("/", "~"))]


def strings(value: object) -> list[str]:
    """Every text in a JSON value."""
    if isinstance(value, dict):
        return [text for entry in value.values() for text in strings(entry)]
    if isinstance(value, list):
        return [text for entry in value for text in strings(entry)]
    return [value] if isinstance(value, str) else []


@pytest.mark.slow
@every
def test_it_answers(name: str, folder: Path) -> None:
    if missing := [row.name for row in models_table() if row.source is None]:
        pytest.skip(f"{missing} are not in LAYALIGN_HOME: run `layalign models fetch`")
    question = "Juma ana matofaa 3 na ananunua mengine 4. Sasa ana matofaa mangapi?"
    (answer,) = generate(name, [question], max_new_tokens=40, base=True)
    assert any(digit in answer["answer"] for digit in "0123456789")
