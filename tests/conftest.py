"""What tests of several folders share."""

from __future__ import annotations

from pathlib import Path

import pytest

from factories import make_model, make_processor


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that needs nothing but its own folder."""
    folder = tmp_path_factory.mktemp("tiny") / "checkpoint"
    make_model().save_pretrained(folder, include_backbones=True)
    make_processor(prompt_template="the answer is").save_pretrained(folder)
    return folder
