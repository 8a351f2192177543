import copy
import dataclasses
import json
import pickle

import pytest

from layalign.data import Example
from layalign.errors import DataError


def test_language_is_normalised() -> None:
    assert Example(text="Habari", language="swh").language == "sw"


@pytest.mark.parametrize("field", ["text", "target", "answer"])
def test_empty_text_is_refused(field: str) -> None:
    values = {"text": "Habari", "language": "sw", field: " \n"}
    with pytest.raises(DataError, match=f"{field} is empty"):
        Example(**values)


@pytest.mark.parametrize(
    ("bad", "name"), [("\0", "U+0000"), ("\x1b", "U+001B"), ("\ud800", "U+D8")]
)
def test_control_characters_are_refused(bad: str, name: str) -> None:
    with pytest.raises(DataError, match="unusable character " + name.replace("+", r"\+")) as error:
        Example(text=f"ab{bad}c", language="sw")
    assert "character 3" in str(error.value)


def test_white_space_inside_is_kept() -> None:
    assert Example(text="a\tb\nc", language="sw").text == "a\tb\nc"


def test_choices_are_checked() -> None:
    with pytest.raises(DataError, match="choices is empty"):
        Example(text="a", language="en", choices=("x", ""))


def test_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Example(text="a", language="en").text = "b"  # type: ignore[misc]


def test_parts_are_read_only_and_travel() -> None:
    parts = {"premise": "Habari"}
    example = Example(text="a", language="en", parts=parts)
    parts["premise"] = "other"
    assert example.parts == {"premise": "Habari"}
    for change in (example.parts.update, example.parts.__setitem__, example.parts.clear):
        with pytest.raises(TypeError, match="cannot be changed"):
            change("premise", "x")
    for twin in (copy.deepcopy(example), pickle.loads(pickle.dumps(example))):
        assert twin == example
        assert twin.parts == example.parts
    assert json.loads(json.dumps(dataclasses.asdict(example)))["parts"] == example.parts


def test_parts_are_compared_and_not_hashed() -> None:
    one, other = (Example(text="a", language="en", parts={"stem": stem}) for stem in "xy")
    assert one != other
    assert hash(one) == hash(other)


def test_parts_are_checked() -> None:
    with pytest.raises(DataError, match="premise is empty"):
        Example(text="a", language="en", parts={"premise": " "})
