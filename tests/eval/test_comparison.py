from collections.abc import Collection

import pytest

from layalign.errors import ConfigError
from layalign.eval import EvaluationResult, Prediction, compare
from layalign.eval.results import summarise

IDS = range(10)


def result(right: dict[str, Collection[int]]) -> EvaluationResult:
    """An evaluation of ten ids a language, of which those given are right."""
    predictions = [
        Prediction(
            id=str(i),
            language=tag,
            text="q",
            answer="1",
            output="1",
            parsed="1" if i in ids else None,
            correct=i in ids,
        )
        for tag, ids in right.items()
        for i in IDS
    ]
    return EvaluationResult(
        metric="number",
        languages={tag: summarise([p for p in predictions if p.language == tag]) for tag in right},
        predictions=tuple(predictions),
        new_tokens=10,
        seconds=1.0,
    )


OURS = result({"en": range(7), "sw": range(6), "th": range(4), "am": range(2)})
BARE = result({"en": range(8), "sw": range(1), "th": (), "am": range(2)})


def test_rows() -> None:
    rows = compare(OURS, BARE, trained=["en", "swh", "th"])["languages"]
    assert list(rows) == ["en", "sw", "th", "am"]
    assert rows["sw"]["name"] == "Swahili"
    assert rows["sw"]["gain"] == pytest.approx(50)
    assert rows["en"]["gain"] == pytest.approx(-10)
    assert rows["sw"]["share_of_english"] == pytest.approx(75)  # of the bare model's 80 %
    assert [row["trained"] for row in rows.values()] == [True, True, True, False]


def test_groups() -> None:
    averages = compare(OURS, BARE, trained=["en", "sw", "th"])["averages"]
    assert {name: average["languages"] for name, average in averages.items()} == {
        "all": ["en", "sw", "th", "am"],
        "non_english": ["sw", "th", "am"],
        "trained": ["sw", "th"],
        "never_trained": ["am"],
    }
    gain = averages["trained"]["gain"]
    assert gain["value"] == pytest.approx(45)
    assert gain["low"] < 45 < gain["high"]
    assert averages["trained"]["layalign"]["value"] == pytest.approx(50)
    assert averages["never_trained"]["gain"] == {"value": 0, "low": 0, "high": 0}


def test_what_is_not_known_is_none() -> None:
    summary = compare(result({"sw": range(5)}))
    row = summary["languages"]["sw"]
    assert [row[key] for key in ("trained", "bare", "gain", "share_of_english")] == [None] * 4
    assert summary["averages"].keys() == {"all", "non_english"}
    assert summary["averages"]["all"]["gain"] is None


def test_no_share_of_an_english_score_of_zero() -> None:
    summary = compare(OURS, result({**dict.fromkeys(("en", "sw", "th", "am"), ())}))
    assert summary["languages"]["sw"]["share_of_english"] is None


def test_empty_groups_are_left_out() -> None:
    english = result({"en": range(5)})
    assert compare(english, english, trained=["en"])["averages"].keys() == {"all"}


def test_a_language_model_alone() -> None:
    summary = compare(None, BARE, trained=["sw"])
    row = summary["languages"]["sw"]
    assert (row["layalign"], row["gain"]) == (None, None)
    assert row["bare"]["accuracy"] == pytest.approx(10)
    assert row["share_of_english"] == pytest.approx(12.5)
    assert summary["averages"]["trained"]["layalign"] is None
    assert summary["averages"]["trained"]["gain"] is None
    with pytest.raises(ConfigError, match="no evaluation to compare"):
        compare(None)
