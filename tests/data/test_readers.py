import json
from pathlib import Path
from typing import Any

import pytest

from layalign.data import Example, read_bitext, read_jsonl
from layalign.errors import ConfigError, DataError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "questions.tsv"


def test_bitext(file: Path) -> None:
    file.write_text("Habari\tHello\n Asante \tThanks\n", encoding="utf-8")
    assert list(read_bitext(file, language="swh")) == [
        Example(text="Habari", language="sw", target="Hello"),
        Example(text="Asante", language="sw", target="Thanks"),
    ]


def test_bitext_columns(file: Path) -> None:
    file.write_text("1\tHello\t2\tHabari\n", encoding="utf-8")
    (example,) = read_bitext(file, language="sw", columns=(3, 1))
    assert (example.text, example.target) == ("Habari", "Hello")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a\tb\n\nabc\n", "line 3: expected 2 tab-separated fields, found 1"),
        ("a\tb\tc\n", "line 1: expected 2 tab-separated fields, found 3"),
        ("a\tb\na\t \n", "line 2: target is empty"),
        ("\tb\n", "line 1: text is empty"),
        ("a\0\tb\n", "line 1: text holds the unusable character U+0000"),
    ],
)
def test_bad_bitext(file: Path, content: str, message: str) -> None:
    file.write_text(content, encoding="utf-8")
    with pytest.raises(DataError) as error:
        list(read_bitext(file, language="sw"))
    assert str(error.value).startswith(f"{file}, {message}")
    assert "\n" not in str(error.value)


def test_bad_bitext_settings_show_before_reading(file: Path) -> None:
    with pytest.raises(DataError, match="unknown language"):
        read_bitext(file, language="swahilli")
    for columns in [(1, 1), (-1, 0)]:
        with pytest.raises(ConfigError, match="two different numbers"):
            read_bitext(file, language="sw", columns=columns)


def write_rows(file: Path, *rows: Any) -> None:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    file.write_text("\n".join(lines), encoding="utf-8")


def test_jsonl_with_own_names(file: Path) -> None:
    row = {"text": "a", "language": "sw", "target": "b", "answer": "1", "choices": ["x"], "id": "7"}
    write_rows(file, {**row, "extra": {"deep": None}})
    assert list(read_jsonl(file)) == [Example(**{**row, "choices": ("x",)})]


def test_jsonl_mapping_and_conversion(file: Path) -> None:
    write_rows(file, '{"question": " Ngapi? ", "answer": -3.50, "id": 7, "target": null}')
    examples = list(read_jsonl(file, columns={"text": "question"}, language="sw"))
    assert examples == [Example(text="Ngapi?", language="sw", answer="-3.50", id="7")]


GOOD = {"text": "a", "language": "sw"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"text": ', "not valid JSON"),
        ('{"text": "a", "language": "sw", "answer": NaN}', "NaN is not a number"),
        ('{"id": ' + "1" * 5000 + "}", "JSON value not accepted"),
        ("[" * 100_000, "not "),
        ("[1]", "expected a JSON object, found a list"),
        ("null", "expected a JSON object, found null"),
        ({"language": "sw"}, "no column 'text' for text; the columns are 'language'"),
        ({"texts": "a", "language": "sw"}, "did you mean 'texts'?"),
        ({"question": "a"}, "no column 'language' for language; the columns are 'question'"),
        ({}, "the columns are none"),
        ({**GOOD, "text": 3}, "'text' must be a text, found the number 3"),
        ({**GOOD, "text": None}, "'text' is null"),
        ({**GOOD, "text": ""}, "text is empty"),
        ({**GOOD, "text": "a\u0000"}, "unusable character U+0000"),
        ({**GOOD, "text": "\ud83d"}, "unusable character U+D83D"),
        ({**GOOD, "answer": True}, "'answer' must be a text or number, found true"),
        ({**GOOD, "answer": ["1"]}, "'answer' must be a text or number, found a list"),
        ({**GOOD, "choices": "AB"}, "'choices' must be a list of texts, found a text"),
        ({**GOOD, "choices": {"A": "x"}}, "found an object"),
        ({**GOOD, "language": "swahilli"}, "did you mean 'sw' (Swahili)?"),
    ],
)
def test_bad_jsonl(file: Path, row: Any, message: str) -> None:
    write_rows(file, GOOD, row)
    with pytest.raises(DataError) as error:
        list(read_jsonl(file))
    assert str(error.value).startswith(f"{file}, line 2: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_mapped_column_must_be_there(file: Path) -> None:
    write_rows(file, GOOD)
    with pytest.raises(DataError, match="no column 'gold' for answer"):
        list(read_jsonl(file, columns={"answer": "gold"}))


def test_bad_jsonl_settings_show_before_reading(file: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'answer'"):
        read_jsonl(file, columns={"anwser": "gold"})
    with pytest.raises(ConfigError, match="given twice"):
        read_jsonl(file, columns={"language": "lang"}, language="sw")
