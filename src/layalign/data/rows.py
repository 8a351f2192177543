"""Row sources: local files of several kinds, each as rows with the place where they stand.

A row is a pair: *where*, ``"FILE, line N"``, which begins every error about it, and a mapping from
column names to values as the file has them. Only a piece of a file is in memory at a time.

A *bad row* is one whose neighbours can still be read. Readers give it to a :data:`Report`, which
raises its error (:func:`refuse`, the default) or notes it; then they go on. What makes the rest of
a file unreadable, such as damaged compression, is always raised.
"""

import csv
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from layalign.data.lines import MAX_SIZE, empty_file, raw_lines, read_chunks, read_lines
from layalign.errors import DataError

T = TypeVar("T")

Row = tuple[str, Mapping[str, Any] | None]
"""None stands for a bad row, so that the rows after it keep their numbers."""

Report = Callable[[DataError], None]
"""What is done about a bad row."""

# Tab, line feed and carriage return are ordinary white space.
_CONTROL = re.compile("[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")


_DECODER = json.JSONDecoder(parse_float=Decimal, parse_constant=_no_constant)


def refuse(error: DataError) -> None:
    """Raise the error of a bad row."""
    raise error


def attempt(report: Report, function: Callable[..., T], *args: Any) -> T | None:
    """Call a function that makes something of a row; None if the row is bad."""
    try:
        return function(*args)
    except DataError as error:
        report(error)
        return None


def json_line_rows(path: Path, report: Report = refuse) -> Iterator[Row]:
    """Yield the objects of JSON lines; decimals stay exact.

    Raises:
        DataError: The file cannot be read, or a line is not a JSON object.
    """
    for number, line in read_lines(path):
        where = f"{path}, line {number}"
        yield where, attempt(report, _json_object, line, where)


def _json_object(line: str, where: str) -> dict[str, Any]:
    try:
        value = _DECODER.decode(line)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{where}: not valid JSON, {error.msg} at character {error.colno}; "
            "expected one complete object a line"
        ) from error
    except (ValueError, RecursionError) as error:  # huge integers, NaN, endless nesting
        raise DataError(f"{where}: JSON value not accepted ({error})") from error
    return _as_object(value, where)


def json_rows(path: Path, report: Report = refuse) -> Iterator[Row]:
    """Yield the objects of a JSON file: those of one array, of any size, or JSON lines.

    Raises:
        DataError: The file cannot be read or holds something else.
    """
    for chunk in read_chunks(path):
        if text := chunk.lstrip():
            rows = _array_rows if text[0] == "[" else json_line_rows
            yield from rows(path, report)
            return
    raise empty_file(path)


def _array_rows(path: Path, report: Report) -> Iterator[Row]:
    """Yield the items of a JSON array, reading on only when the next one is not complete."""
    chunks = read_chunks(path)
    text, separator, number = "", "[", 1
    while True:
        where = f"{path}, item {number}"
        taken = _next_item(text, chunks, separator, where)
        if taken is None:
            break
        value, text = taken
        yield where, attempt(report, _as_object, value, where)
        separator, number = ",", number + 1
    if number == 1:
        raise DataError(f"{path}: the JSON array is empty; expected at least one object")


def _next_item(
    text: str, chunks: Iterator[str], separator: str, where: str
) -> tuple[Any, str] | None:
    """Take a separator and a value off the text; None at the end of the array."""
    while True:
        text = text.lstrip()
        body = text[1:].lstrip()
        if text[:1] == "]" or (separator == "[" and body[:1] == "]"):
            return None
        if text and text[0] != separator:
            raise _bad_array(where, f"found {text[0]!r} where {separator!r} was expected")
        value, rest, problem = _first_value(body, where)
        if rest:  # else a number may go on in the next piece
            return value, rest
        if len(body) > MAX_SIZE:
            raise _bad_array(where, f"or an item is longer than {MAX_SIZE} characters")
        if (chunk := next(chunks, None)) is None:
            raise _bad_array(where, problem)
        text += chunk


def _first_value(text: str, where: str) -> tuple[Any, str, str]:
    """The JSON value at the start of a text, what follows it, and why there is none."""
    try:
        value, end = _DECODER.raw_decode(text)
    except json.JSONDecodeError as error:
        return None, "", error.msg
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: JSON value not accepted ({error})") from error
    return value, text[end:], "the closing ] is missing"


def _bad_array(where: str, reason: str) -> DataError:
    return DataError(f"{where}: not valid JSON, {reason}; expected one complete array of objects")


def _as_object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DataError(f"{where}: expected a JSON object, found {kind(value)}")
    return value


def csv_rows(path: Path, report: Report = refuse) -> Iterator[Row]:
    """Yield the rows of a CSV file with a header, values as text; an empty one is None.

    Quoted values may hold commas, quotes (doubled) and line ends.

    Raises:
        DataError: The file cannot be read, or a row has another number of values than the header.
    """
    reader = csv.reader((line for _, line in raw_lines(path)), strict=True)
    header: list[str] = []
    first = 1  # line on which the record begins
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise DataError(
                f"{path}, line {first}: not valid CSV, {error}; check the quotes from there on"
            ) from error
        if cells is None:
            break
        where, first = f"{path}, line {first}", reader.line_num + 1
        if not header and any(cell.strip() for cell in cells):
            header = _check_header(cells, where)
        elif header and cells:
            yield where, attempt(report, _as_row, header, cells, where)


def tsv_rows(path: Path, names: Sequence[str] = (), report: Report = refuse) -> Iterator[Row]:
    """Yield the rows of a tab-separated file, values as in CSV; quotes have no meaning.

    Args:
        path: The file.
        names: Of the columns, for a file without a header. A first line that holds one of them
            as a whole value is a header all the same. Without names the first line is the header.
        report: Of bad rows.

    Raises:
        DataError: The file cannot be read, or a row has another number of values than the header.
    """
    header: list[str] = []
    for number, line in read_lines(path):
        where, cells = f"{path}, line {number}", line.split("\t")
        if header:
            yield where, attempt(report, _as_row, header, cells, where)
        elif names and not set(names) & set(cells):
            header = list(names)
            yield where, attempt(report, _as_row, header, cells, where)
        else:
            header = _check_header(cells, where)


def _check_header(cells: list[str], where: str) -> list[str]:
    names = [cell.strip() for cell in cells]
    if len(set(names)) < len(names) or "" in names:
        raise DataError(
            f"{where}: expected a header with a different name for every column, found "
            f"{listed(names) or 'nothing'}"
        )
    return names


def _as_row(header: list[str], cells: list[str], where: str) -> dict[str, str | None]:
    if len(cells) != len(header):
        raise DataError(
            f"{where}: expected {len(header)} values ({listed(header)}), found {len(cells)}"
        )
    return {name: cell or None for name, cell in zip(header, cells, strict=True)}


def as_text(value: Any) -> str | None:
    """A text without the space around it, or a number as text; None if it is neither."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, float) and math.isfinite(value):
        value = Decimal(repr(value)).normalize()
    if isinstance(value, Decimal):
        return format(value, "f")
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def plain_text(text: str) -> str:
    """A text without the space around it, control characters inside made spaces.

    Published sets have such strays. U+0000 stays: it means that a file is damaged, or no text.
    """
    return _CONTROL.sub(" ", text).strip()


def listed(names: Sequence[str]) -> str:
    """Names in quotes, with commas between."""
    return ", ".join(repr(name) for name in names)


def kind(value: Any) -> str:
    """Say what a value is, in JSON's own words."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    for type_, name in ((str, "a text"), (Mapping, "an object"), (list, "a list")):
        if isinstance(value, type_):
            return name
    if isinstance(value, (int, float, Decimal)):
        return f"the number {str(value)[:20]}"
    return f"a value of type {type(value).__name__}"
