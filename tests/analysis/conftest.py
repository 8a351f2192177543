"""Sentences in files, and what an analysis finds in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from layalign.analysis import analyze, sentence_source

ENGLISH = ["anna has eggs", "how many books", "the answer is 12", "she buys more mangoes now"]
SWAHILI = ["ana mayai", "vitabu gani ngapi", "jumla yake 12", "ana mayai nne zaidi sasa"]
THAI = ["ไข่", "หนังสือ 3", "คำตอบ 12", "มะม่วง มากขึ้น"]


@pytest.fixture(scope="session")
def aligned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of files that are aligned line by line."""
    folder = tmp_path_factory.mktemp("aligned")
    for name, lines in {"eng": ENGLISH, "swa": SWAHILI, "tha": THAI}.items():
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def found(aligned: Path, tiny_checkpoint: Path, tiny_language_model: Path) -> dict[str, Any]:
    """An analysis of the tiny checkpoint, compared with a plain language model and with itself."""
    return analyze(
        tiny_checkpoint,
        source=sentence_source(path=str(aligned)),
        compare=[tiny_language_model, tiny_checkpoint],
        batch_size=3,
    )
