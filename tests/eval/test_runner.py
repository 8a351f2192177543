import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from layalign.data import Example
from layalign.errors import ConfigError, DataError
from layalign.eval import evaluate
from layalign.eval.journal import Journal


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
    assert result.new_tokens == sum(len(reply(example)) for example in parallel())
    assert result.seconds == pytest.approx(sum(r.seconds for r in result.languages.values()))
    assert len(system.calls) == 1  # all languages together


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
    seen: list[tuple[int, ...]] = []
    evaluate(fake_system(reply), parallel(), batch_size=3, progress=lambda *a: seen.append(a))
    assert seen == [(0, 8), (3, 8), (6, 8), (8, 8)]


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


def test_tokens_are_those_of_the_answer_and_time_is_shared(fake_system: Any) -> None:
    result = evaluate(fake_system(reply), parallel(), batch_size=3)
    assert [p.new_tokens for p in result.predictions] == [len(reply(e)) for e in parallel()]
    for start in range(0, 8, 3):  # whatever the languages, a batch takes as long for all in it
        assert len({p.seconds for p in result.predictions[start : start + 3]}) == 1
    swahili = result.languages["sw"]
    assert swahili.new_tokens == len("072hm")
    assert swahili.tokens_per_second == pytest.approx(5 / swahili.seconds)
    assert swahili.seconds == pytest.approx(
        sum(p.seconds for p in result.predictions if p.language == "sw")
    )


def test_what_the_journal_holds_is_not_asked_again(fake_system: Any, tmp_path: Path) -> None:
    whole = evaluate(fake_system(reply), parallel())
    path = tmp_path / "journal.jsonl"
    with Journal(path, 8) as journal:
        for i in (0, 1, 6):
            journal.add(i, whole.predictions[i])
    system = fake_system(reply)
    with Journal(path, 8) as journal:
        resumed = evaluate(system, parallel(), journal=journal)
    asked = [e.text for call in system.calls for e in call]
    assert asked == ["sw 1", "en 1", "sw 2", "en 2", "en 3"]
    assert [p.output for p in resumed.predictions] == [p.output for p in whole.predictions]
    with Journal(path, 8) as journal:
        assert evaluate(system, parallel(), journal=journal) == resumed


def test_an_example_that_was_edited_is_asked_again(fake_system: Any, tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path, 8) as journal:
        evaluate(fake_system(reply), parallel(), journal=journal)
    edited = parallel()
    edited[2] = replace(edited[2], text=edited[2].text + "?")
    system = fake_system(reply)
    with Journal(path, 8) as journal:
        result = evaluate(system, edited, journal=journal)
    assert [e.text for call in system.calls for e in call] == [edited[2].text]
    assert result.predictions[2].text == edited[2].text
    with Journal(path, 8) as journal:
        assert journal.done[2].text == edited[2].text
