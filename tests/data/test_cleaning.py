from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layalign.data import REASONS, Cleaning, Example
from layalign.data.cleaning import Cleaner
from layalign.errors import ConfigError


def reasons(*examples: Example, **settings: Any) -> list[str | None]:
    cleaner = Cleaner(Cleaning(**settings))
    return [cleaner.reason(example) for example in examples]


def pair(text: str = "Habari ya asubuhi", target: str = "Good morning", **fields: Any) -> Example:
    return Example(**{"text": text, "target": target, "language": "sw", **fields})


@pytest.mark.parametrize(
    ("example", "reason"),
    [
        (pair(), None),
        (pair("… !"), "empty"),
        (pair(target="?"), "empty"),
        (pair("Haba\ufffdri"), "control_character"),
        (pair("Haba\x85ri"), "control_character"),
        (pair("Good Morning", "good morning "), "identical"),
        (pair("Good morning", language="en"), None),
        (pair("7", "7", answer="7"), None),
        (pair("Привет всем"), "wrong_script"),
        (pair("15 + 3 = 18", "15 + 3"), None),
        (pair("a" * 100, "b"), "length_ratio"),
        (pair("a" * 100, "b", answer="1"), None),
    ],
)
def test_reasons(example: Example, reason: str | None) -> None:
    assert reasons(example) == [reason]
    assert reason is None or reason in REASONS


@pytest.mark.parametrize(
    "settings",
    [
        {"empty": False, "min_script_share": None},
        {"control_characters": False},
        {"identical": False},
        {"min_script_share": None},
        {"max_ratio": None},
    ],
)
def test_every_check_can_be_switched_off(settings: dict[str, Any]) -> None:
    found = {
        "empty": pair("… !", "Hm"),
        "control_characters": pair("Haba\ufffdri"),
        "identical": pair("same", "same"),
        "min_script_share": pair("Привет всем"),
        "max_ratio": pair("a" * 100, "b"),
    }[next(iter(settings))]
    assert reasons(found) != [None]
    assert reasons(found, **settings) == [None]


def test_lengths() -> None:
    example = pair("abcd", "abcdef")
    assert reasons(example, min_length=4, max_length=6) == [None]
    assert reasons(example, min_length=5) == ["too_short"]
    assert reasons(example, max_length=5) == ["too_long"]


def test_repetitions() -> None:
    same = [pair(id="1"), pair(id="2"), pair(" Habari, ya ASUBUHI! 3"), pair(language="ha")]
    assert reasons(*same) == [None, "duplicate", "near_duplicate", None]
    assert reasons(*same, duplicates="exact") == [None, "duplicate", None, None]
    assert reasons(*same, duplicates="keep") == [None] * 4


def test_numbers_tell_questions_apart() -> None:
    questions = [pair("Ana 3?", answer="1"), pair("Ana 4?", answer="1"), pair("ana 3", answer="1")]
    assert reasons(*questions) == [None, None, "near_duplicate"]


@given(st.lists(st.sampled_from("abc"), max_size=20))
def test_what_is_kept_is_each_once(texts: list[str]) -> None:
    found = reasons(*[pair(text, "target", answer="1") for text in texts])
    kept = [text for text, reason in zip(texts, found, strict=True) if reason is None]
    assert kept == list(dict.fromkeys(texts))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_script_share": 2}, "min_script_share is 2; expected 0 to 1"),
        ({"max_ratio": 0.5}, "max_ratio is 0.5; expected at least 1"),
        ({"max_length": 0}, "max_length is 0; expected at least 1"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Cleaning(**settings)
