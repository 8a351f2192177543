"""What tests of several folders share."""

from __future__ import annotations

from pathlib import Path

import pytest

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
