import csv
import json
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from layalign.data.lines import MAX_SIZE
from layalign.data.rows import (
    as_text,
    csv_rows,
    json_line_rows,
    json_rows,
    kind,
    plain_text,
    tsv_rows,
)
from layalign.errors import DataError

in_one_folder = settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


TEXT = st.text(st.characters(codec="utf-8"), max_size=20)


def test_json_lines(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"a": 1.50}\n\n{"a": null}\n', encoding="utf-8")
    rows = [(f"{file}, line 1", {"a": Decimal("1.50")}), (f"{file}, line 3", {"a": None})]
    assert list(json_line_rows(file)) == rows
    assert list(json_rows(file)) == rows  # a .json file may hold lines too


@in_one_folder
@given(
    items=st.lists(
        st.dictionaries(TEXT, TEXT | st.integers() | st.lists(TEXT), max_size=5), min_size=1
    ),
    indent=st.sampled_from([None, 0, 3]),
    ascii_only=st.booleans(),
)
def test_json_array_reads_what_json_reads(
    tmp_path: Path, items: list[dict], indent: int | None, ascii_only: bool
) -> None:
    file = tmp_path / "a.json"
    text = json.dumps(items, indent=indent, ensure_ascii=ascii_only)
    file.write_text(text, encoding="utf-8")
    assert [row for _, row in json_rows(file)] == items


def test_json_array_larger_than_a_piece(tmp_path: Path) -> None:
    items = [{"text": "ไทย" * (i % 97), "i": i} for i in range(5000)]
    file = tmp_path / "a.json"
    file.write_text("\n" * 70_000 + json.dumps(items, ensure_ascii=False), encoding="utf-8")
    rows = json_rows(file)
    assert next(rows) == (f"{file}, item 1", items[0])
    assert [row for _, row in rows] == items[1:]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[", "item 1: not valid JSON, Expecting value"),
        ("[]", "the JSON array is empty"),
        ('[{"a": 1}', "item 1: not valid JSON, the closing ] is missing"),
        ('[{"a": 1}  ', "item 2: not valid JSON"),
        ('[{"a": 1},', "item 2: not valid JSON, Expecting value"),
        ('[{"a": 1},]', "item 2: not valid JSON, Expecting value"),
        ('[{"a": 1} {"a": 2}]', "item 2: not valid JSON, found '{' where ',' was expected"),
        ('[{"a": 1}, {"a"', "item 2: not valid JSON"),
        ("[1]", "item 1: expected a JSON object, found the number 1"),
        ('[{"a": NaN}]', "item 1: JSON value not accepted (NaN is not a number)"),
        ("[" + "[" * 100_000, "item 1: "),
        ('[{"a": "' + "x" * 2 * MAX_SIZE + '"}]', f"item is longer than {MAX_SIZE} characters"),
        ("", "the file is empty"),
        ("  \n", "the file is empty"),
        ("null", "line 1: expected a JSON object, found null"),
    ],
)
def test_bad_json(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "a.json"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(DataError) as error:
        list(json_rows(file))
    assert message in str(error.value)
    assert str(error.value).startswith(str(file))


CELL = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), max_size=20)


@in_one_folder
@given(rows=st.lists(st.tuples(CELL, CELL.filter(str.strip)), min_size=1))
def test_csv_reads_what_csv_writes(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    file = tmp_path / "a.csv"
    with file.open("w", encoding="utf-8", newline="") as out:
        csv.writer(out, lineterminator="\n").writerows([("a", "b"), *rows])
    expected = [{"a": a or None, "b": b or None} for a, b in rows]
    assert [row for _, row in csv_rows(file)] == expected


def test_csv_says_where_a_record_begins(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_bytes('\ufeffa,b\r\n"x\ny",1\r\n\r\n"z, ""q""",\n'.encode())
    assert list(csv_rows(file)) == [
        (f"{file}, line 2", {"a": "x\ny", "b": "1"}),
        (f"{file}, line 5", {"a": 'z, "q"', "b": None}),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1\n", "line 2: expected 2 values ('a', 'b'), found 1"),
        ("a,b\n1,2,3\n", "line 2: expected 2 values ('a', 'b'), found 3"),
        ("a,a\n1,2\n", "line 1: expected a header with a different name for every column"),
        ("a,\n1,2\n", "line 1: expected a header"),
        ('a,b\n1,2\n"x,1\ny,2\n', "line 3: not valid CSV"),
        ('a,b\n"x"y,2\n', "line 2: not valid CSV"),
        ("a\n" + "x" * 200_000, "line 2: not valid CSV, field larger than field limit"),
    ],
)
def test_bad_csv(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "a.csv"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(DataError) as error:
        list(csv_rows(file))
    assert str(error.value).startswith(f"{file}, {message}")


def test_tsv_with_a_header_and_without(tmp_path: Path) -> None:
    file = tmp_path / "a.tsv"
    file.write_text('a\tb\n"x\t\n', encoding="utf-8")
    assert list(tsv_rows(file)) == [(f"{file}, line 2", {"a": '"x', "b": None})]
    assert list(tsv_rows(file, ("b", "c"))) == list(tsv_rows(file))
    assert [row for _, row in tsv_rows(file, ("c", "d"))] == [
        {"c": "a", "d": "b"},
        {"c": '"x', "d": None},
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (" a ", "a"),
        (18, "18"),
        (18.0, "18"),
        (1e22, "1" + "0" * 22),
        (0.1, "0.1"),
        (Decimal("-3.50"), "-3.50"),
        (True, None),
        (float("nan"), None),
        (["1"], None),
    ],
)
def test_as_text(value: object, text: str | None) -> None:
    assert as_text(value) == text


def test_plain_text() -> None:
    assert plain_text(" a\x1db\x08 c\td\0\n") == "a b  c\td\0"


def test_kind_of_what_json_does_not_have() -> None:
    assert kind(b"x") == "a value of type bytes"
