"""What tests of several folders share."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import constants

from factories import make_language_model, make_model, make_processor, make_tokenizer


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that needs nothing but its own folder."""
    folder = tmp_path_factory.mktemp("tiny") / "checkpoint"
    make_model().save_pretrained(folder, include_backbones=True)
    make_processor(prompt_template="the answer is").save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_language_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The language model of the tiny checkpoint as an ordinary folder."""
    folder = tmp_path_factory.mktemp("plain") / "model"
    make_language_model().save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def put_on_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Path, str], None]:
    """Lay a folder into the cache of a Hub that cannot be reached, as its newest commit.

    Takes hub id, folder and commit, of 40 digits.
    """
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    def put(repo_id: str, folder: Path, commit: str) -> None:
        place = tmp_path / "hub" / f"models--{repo_id.replace('/', '--')}"
        shutil.copytree(folder, place / "snapshots" / commit)
        (place / "refs").mkdir(exist_ok=True)
        (place / "refs" / "main").write_text(commit)

    return put
