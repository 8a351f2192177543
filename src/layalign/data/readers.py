"""Readers of local files: tab-separated bitext and JSON lines.

Each yields one :class:`Example` a row and never holds the file in memory. An error names file,
line and field, what was found and what was expected.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields
from decimal import Decimal
from pathlib import Path
from typing import Any

from layalign.data.example import Example
from layalign.data.languages import check_language
from layalign.data.lines import read_lines
from layalign.errors import ConfigError, DataError, nearest

_EXPECTED = {"choices": "a list of texts", "answer": "a text or number", "id": "a text or number"}

FIELDS = tuple(field.name for field in fields(Example) if field.name != "parts")


def read_bitext(
    path: str | Path, *, language: str, columns: tuple[int, int] = (0, 1)
) -> Iterator[Example]:
    """Read translation pairs from a tab-separated file without a header.

    Args:
        path: The file, compressed if its name ends in ``.gz``.
        language: BCP-47 tag of the texts.
        columns: Where the text and its English translation stand, counted from 0.

    Raises:
        DataError: The file or a line of it cannot be read as bitext.
        ConfigError: A column is negative or both are the same.
    """
    language = check_language(language)
    if min(columns) < 0 or len(set(columns)) != 2:
        raise ConfigError(f"columns must be two different numbers from 0 up, got {columns}")
    expected = f"{max(columns) + 1} tab-separated fields"
    if max(columns) > 1:
        expected = "at least " + expected
    return _bitext_rows(Path(path), language, columns, expected)


def _bitext_rows(
    path: Path, language: str, columns: tuple[int, int], expected: str
) -> Iterator[Example]:
    for number, line in read_lines(path):
        cells = line.split("\t")
        # With the default columns a third field means that this is another kind of file.
        if len(cells) <= max(columns) or (max(columns) == 1 and len(cells) > 2):
            raise DataError(
                f"{path}, line {number}: expected {expected}, found {len(cells)}; the file needs "
                "one text, a tab and its English translation on every line (name other columns "
                "with columns=)"
            )
        text, target = (cells[column].strip() for column in columns)
        yield _build(path, number, {"text": text, "target": target, "language": language})


def read_jsonl(
    path: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    language: str | None = None,
) -> Iterator[Example]:
    """Read examples from JSON lines, one object a line.

    Args:
        path: The file, compressed if its name ends in ``.gz``.
        columns: For each field of :class:`Example`, the file's key: ``{"text": "question"}``.
            A field that is not named is read from the key of its own name, if there is one.
        language: BCP-47 tag of all texts, for a file that does not state it row by row.

    Raises:
        DataError: The file or a line of it cannot be read.
        ConfigError: ``columns`` names an unknown field, or the language is given twice.
    """
    chosen = dict(columns or {})
    for field in chosen:
        if field not in FIELDS:
            raise ConfigError(
                f"columns: unknown field {field!r}; expected one of {_listed(FIELDS)}"
                + nearest(field, FIELDS)
            )
    if language is not None:
        language = check_language(language)
        if "language" in chosen:
            raise ConfigError("language is given twice, by language= and by columns; keep one")
    return _jsonl_rows(Path(path), chosen, language)


def _jsonl_rows(path: Path, columns: dict[str, str], language: str | None) -> Iterator[Example]:
    required = {"text", "language", *columns} - ({"language"} if language else set())
    keys = {field: columns.get(field, field) for field in FIELDS}
    for number, line in read_lines(path):
        row = parse_object(line, path, number)
        for field in sorted(required):
            if keys[field] not in row:
                raise _missing(path, number, field, keys[field], row)
        values = {
            field: _convert(path, number, key, field, row[key])
            for field, key in keys.items()
            if key in row and row[key] is not None
        }
        for field in sorted(required - values.keys()):
            raise DataError(f"{path}, line {number}: {keys[field]!r} is null; expected a value")
        if language is not None:
            values["language"] = language
        yield _build(path, number, values)


def parse_object(line: str, path: Path, number: int) -> dict[str, Any]:
    """Parse one line of a JSON lines file; decimals stay exact.

    Raises:
        DataError: The line is not JSON, or not an object.
    """
    try:
        row = json.loads(line, parse_float=Decimal, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}, line {number}: not valid JSON, {error.msg} at character {error.colno}; "
            "expected one complete object a line"
        ) from error
    except (ValueError, RecursionError) as error:  # huge integers, NaN, endless nesting
        raise DataError(f"{path}, line {number}: JSON value not accepted ({error})") from error
    if not isinstance(row, dict):
        raise DataError(f"{path}, line {number}: expected a JSON object, found {_kind(row)}")
    return row


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")


def _convert(path: Path, number: int, key: str, field: str, value: Any) -> Any:
    """Turn a JSON value into what the field of an :class:`Example` holds."""
    if isinstance(value, str) and field != "choices":
        return value.strip()
    is_number = isinstance(value, (int, Decimal)) and not isinstance(value, bool)
    if is_number and field in ("answer", "id"):
        return format(value, "f") if isinstance(value, Decimal) else str(value)
    if field == "choices" and isinstance(value, list) and all(isinstance(c, str) for c in value):
        return tuple(value)
    expected = _EXPECTED.get(field, "a text")
    raise DataError(f"{path}, line {number}: {key!r} must be {expected}, found {_kind(value)}")


def _build(path: Path, number: int, values: dict[str, Any]) -> Example:
    try:
        return Example(**values)
    except DataError as error:
        raise DataError(f"{path}, line {number}: {error}") from error


def _missing(path: Path, number: int, field: str, key: str, row: Mapping[str, Any]) -> DataError:
    advice = "" if field != "language" else ", or state language="
    hint = nearest(key, tuple(row)) or f"; map it with columns {{{field!r}: …}}{advice}"
    return DataError(
        f"{path}, line {number}: no column {key!r} for {field}; the columns are "
        f"{_listed(tuple(row)) or 'none'}{hint}"
    )


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(repr(name) for name in names)


def _kind(value: Any) -> str:
    """Say what a JSON value is, in JSON's own words."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    for kind, name in ((str, "a text"), (dict, "an object"), (list, "a list")):
        if isinstance(value, kind):
            return name
    return f"the number {str(value)[:20]}"
