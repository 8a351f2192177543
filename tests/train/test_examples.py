"""The examples of a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from factories import make_processor
from layalign.data import DataSource
from layalign.train.batches import StageDataset
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


def test_many_examples_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("datasets", reason="needs the data extra")
    row = json.dumps({"text": "tatu", "language": "sw", "target": "three"}) + "\n"
    (tmp_path / "task.jsonl").write_text(5 * row)
    recipe = DataRecipe(task=StageData(train=(DataSource(path=str(tmp_path / "task.jsonl")),)))
    told: list[tuple[str, float, str]] = []

    def read() -> RunExamples:
        examples = RunExamples(
            recipe, ("task",), tmp_path / "held", lambda *state: told.append(state)
        )
        with examples.loaded():
            return examples

    read()
    assert told == []
    monkeypatch.setattr("layalign.train.examples._MANY", 2)
    monkeypatch.setattr("layalign.data.tables.MEMORY", 0)
    examples = read()
    read_so_far = [("data", 0.0, "2 examples"), ("data", 0.0, "4 examples")]
    assert told == [*read_so_far, ("data", 1.0, "5 examples")]
    StageDataset(examples.train["task"], make_processor()).prepare()
    assert told[3:] == [("tokenise task", 1.0, "5 of 5 examples")]
