import json
from pathlib import Path
from typing import Any

import pytest

import factories
from layalign.data import DataSource, Example
from layalign.errors import CheckpointError, ConfigError, DataError
from layalign.eval import evaluate, evaluate_checkpoint, systems
from layalign.model import LayAlignModel
from layalign.processing import LayAlignProcessor


def parallel() -> list[Example]:
    """Two languages that take turns, four ids."""
    return [
        Example(text=f"{tag} {i}", language=tag, answer=str(i), id=str(i))
        for i in range(4)
        for tag in ("sw", "en")
    ]


def reply(example: Example) -> str:
    """English is right; Swahili right, wrong, right, unparsed."""
    if example.language == "en":
        return f"The answer is {example.answer}."
    return ["0", "7", "2", "hm"][int(example.answer or "")]


def test_figures_per_language(fake_system: Any) -> None:
    system = fake_system(reply)
    result = evaluate(system, parallel(), batch_size=3)
    assert list(result.languages) == ["sw", "en"]
    swahili = result.languages["sw"]
    assert (swahili.items, swahili.correct) == (4, 2)
    assert (swahili.accuracy, swahili.unparsed) == (50, 25)
    assert swahili.low < 50 < swahili.high
    assert result.languages["en"].accuracy == 100
    assert result.average().value == 75
    assert result.average(["sw"]).value == 50
    assert result.new_tokens == 8
    assert result.seconds == pytest.approx(sum(r.seconds for r in result.languages.values()))
    assert [e.language for call in system.calls for e in call] == ["sw"] * 4 + ["en"] * 4


def test_predictions_keep_the_order(fake_system: Any) -> None:
    examples = parallel()
    predictions = evaluate(fake_system(reply), examples).predictions
    assert [p.text for p in predictions] == [e.text for e in examples]
    last = predictions[-2]
    assert (last.id, last.language, last.output, last.parsed) == ("3", "sw", "hm", None)
    assert not last.correct


def test_to_dict_is_json(fake_system: Any) -> None:
    result = evaluate(fake_system(reply), parallel())
    values = json.loads(json.dumps(result.to_dict(predictions=True), allow_nan=False))
    assert values["languages"]["en"]["accuracy"] == 100
    assert values["average"]["value"] == 75
    assert len(values["predictions"]) == 8
    assert "predictions" not in result.to_dict()


def test_progress(fake_system: Any) -> None:
    seen: list[tuple[int, int, str]] = []
    evaluate(fake_system(reply), parallel(), batch_size=3, progress=lambda *a: seen.append(a))
    assert seen[:3] == [(0, 8, "Swahili"), (3, 8, "Swahili"), (4, 8, "Swahili")]
    assert seen[-1] == (8, 8, "English")


def test_rows_without_ids_count_one_by_one(fake_system: Any) -> None:
    examples = [Example(text="q", language="sw", answer="1")] * 3
    result = evaluate(fake_system(lambda _: "1"), examples)
    assert len(result.scores("sw")) == 3


def test_bad_examples_show_before_anything_runs(fake_system: Any) -> None:
    system = fake_system(reply)
    good = Example(text="q", language="sw", answer="1", id="a")
    for examples, message in [
        ([], "no examples"),
        ([good, good], "id 'a' occurs 2 times in language 'sw'"),
        ([good, Example(text="q", language="sw")], "has no answer"),
    ]:
        with pytest.raises(DataError, match=message):
            evaluate(system, examples)
    with pytest.raises(ConfigError, match="unknown metric"):
        evaluate(system, [good], metric="bleu")  # type: ignore[arg-type]
    assert system.calls == []


@pytest.fixture
def checkpoint(processor: LayAlignProcessor, tmp_path: Path) -> Path:
    """A checkpoint whose backbones lie beside it."""
    places = {"encoder": tmp_path / "encoder", "language_model": tmp_path / "llm"}
    factories.make_encoder().save_pretrained(places["encoder"])
    factories.make_language_model().save_pretrained(places["language_model"])
    model = LayAlignModel.from_backbones(**{name: str(place) for name, place in places.items()})
    folder = tmp_path / "checkpoint"
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture
def task_file(tmp_path: Path) -> str:
    rows = [
        {"question": "12 + 3 = ?", "lang": tag, "answer": i, "id": i}
        for tag in ("en", "sw")
        for i in range(3)
    ]
    file = tmp_path / "tasks.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return str(file)


def test_evaluate_checkpoint(checkpoint: Path, task_file: str, tmp_path: Path) -> None:
    source = DataSource(path=task_file, columns={"text": "question", "language": "lang"}, limit=2)
    seen: list[tuple[int, int, str]] = []
    summary = evaluate_checkpoint(
        checkpoint,
        data=source,
        max_new_tokens=2,
        trained=["en"],
        output=tmp_path / "results" / "out.json",
        progress=lambda *a: seen.append(a),
    )
    assert list(summary["languages"]) == ["en", "sw"]
    assert summary["languages"]["sw"]["bare"]["items"] == 2
    assert summary["languages"]["sw"]["trained"] is False
    assert seen[0] == (0, 8, "LayAlign: English")
    assert seen[-1] == (8, 8, "bare LLM: Swahili")
    saved = json.loads((tmp_path / "results" / "out.json").read_text())
    assert {name: len(rows) for name, rows in saved.pop("predictions").items()} == {
        "bare LLM": 4,
        "LayAlign": 4,
    }
    assert saved == json.loads(json.dumps(summary))


def test_evaluate_checkpoint_without_the_bare_llm(checkpoint: Path) -> None:
    summary = evaluate_checkpoint(
        checkpoint, languages=["en"], limit=2, max_new_tokens=2, base=False
    )
    assert summary["languages"]["en"]["bare"] is None
    assert (summary["data"], summary["split"]) == ("word_problems", "test")


def test_wrong_data_shows_before_models_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systems, "load_checkpoint", lambda _: pytest.fail("models were loaded"))
    with pytest.raises(DataError, match="no such file"):
        evaluate_checkpoint("nowhere", data=str(tmp_path / "a.jsonl"))
    with pytest.raises(DataError, match="unknown language"):
        evaluate_checkpoint("nowhere", languages=["swahilli"])
    with pytest.raises(ConfigError, match="is a folder; expected the path of a JSON file"):
        evaluate_checkpoint("nowhere", output=tmp_path)


def test_wrong_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        evaluate_checkpoint(tmp_path, languages=["en"], limit=1)


def test_with_question() -> None:
    assert systems.with_question("Q: {question} A:") == "Q: {question} A:"
    assert systems.with_question("A:") == "{question}\nA:"
