"""The examples of a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from layalign.data import DataSource
from layalign.train.examples import RunExamples
from layalign.train.recipe import DataRecipe, StageData


@pytest.mark.parametrize("stages", [("finetune", "task"), ("task",)])
def test_the_vocabulary_does_not_depend_on_who_has_fine_tuned(
    stages: tuple[str, ...], tmp_path: Path
) -> None:
    """A run that starts from the fine-tune of another one knows what that one has read."""
    for name, text, target in (("finetune", "three eggs", "3"), ("task", "tatu", "the answer")):
        row = {"text": text, "language": "en" if name == "finetune" else "sw", "target": target}
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row) + "\n")
    sources = {
        name: StageData(train=(DataSource(path=str(tmp_path / f"{name}.jsonl")),))
        for name in ("finetune", "task")
    }
    examples = RunExamples(DataRecipe(**sources), stages, tmp_path / "held")
    with examples.loaded():
        assert sorted(examples.english()) == ["the answer", "three eggs"]
    assert examples.trained_languages() == {"sw"}
