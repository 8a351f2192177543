"""Readers of pairs and tasks whose columns the user names: bitext, and rows of any kind.

Each yields one :class:`Example` a row and never holds the file in memory. An error names file,
line and field, what was found and what was expected.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

from layalign.data.example import Example
from layalign.data.languages import check_language
from layalign.data.lines import raw_lines, read_lines
from layalign.data.rows import (
    Report,
    Row,
    as_text,
    attempt,
    json_line_rows,
    kind,
    listed,
    plain_text,
    refuse,
)
from layalign.errors import ConfigError, DataError, nearest

Placed = tuple[str, Example]
"""An example, and the place where it stands: ``"FILE, line N"``."""

_EXPECTED = {"choices": "a list of texts", "answer": "a text or number", "id": "a text or number"}

FIELDS = tuple(field.name for field in fields(Example) if field.name != "parts")

_ABSENT = object()


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
    return (example for _, example in place_bitext(Path(path), check_language(language), columns))


def place_bitext(
    path: Path, language: str, columns: tuple[int, int] = (0, 1), report: Report = refuse
) -> Iterator[Placed]:
    """See :func:`read_bitext`."""
    if min(columns) < 0 or len(set(columns)) != 2:
        raise ConfigError(f"columns must be two different numbers from 0 up, got {columns}")
    expected = f"{max(columns) + 1} tab-separated fields"
    if max(columns) > 1:
        expected = "at least " + expected

    def place(where: str, cells: list[str]) -> Placed:
        # With the default columns a third field means that this is another kind of file.
        if len(cells) <= max(columns) or (max(columns) == 1 and len(cells) > 2):
            raise DataError(
                f"{where}: expected {expected}, found {len(cells)}; the file needs "
                "one text, a tab and its English translation on every line (name other columns "
                "with columns=)"
            )
        text, target = (plain_text(cells[column]) for column in columns)
        return build(where, {"text": text, "target": target, "language": language})

    return _bitext_rows(path, place, report)


def _bitext_rows(
    path: Path, place: Callable[[str, list[str]], Placed], report: Report
) -> Iterator[Placed]:
    for number, line in read_lines(path):
        if placed := attempt(report, place, f"{path}, line {number}", line.split("\t")):
            yield placed


def place_bitext_files(
    path: Path, target_path: Path, language: str, report: Report = refuse
) -> Iterator[Placed]:
    """Read translation pairs from two files, one sentence a line, the same line of each a pair.

    The number of the line, from 1, is the id: files that are aligned with the same English file
    are translations of each other. A pair of two blank lines is passed over.

    Args:
        path: Sentences of the language.
        target_path: Their English translations.
        language: BCP-47 tag of the sentences.
        report: Of bad rows.

    Raises:
        DataError: A file cannot be read, a sentence has no counterpart, or one file is longer.
    """
    pairs = zip_longest(raw_lines(path), raw_lines(target_path))
    for number, (source, target) in enumerate(pairs, start=1):
        if source is None or target is None:
            longer, shorter = (target_path, path) if source is None else (path, target_path)
            total = number + sum(1 for _ in pairs)
            raise DataError(
                f"{shorter} has {number - 1} lines, but {longer} has {total}; expected as many "
                "lines in both, each the translation of the other"
            )
        text, english = plain_text(source[1]), plain_text(target[1])
        if text or english:
            values = {"text": text, "target": english, "language": language, "id": str(number)}
            if placed := attempt(report, build, f"{path}, line {number}", values):
                yield placed


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
    placed = place_rows(json_line_rows(Path(path)), columns=columns, language=language)
    return (example for _, example in placed)


def place_rows(
    rows: Iterable[Row],
    *,
    columns: Mapping[str, str] | None = None,
    language: str | None = None,
    codes: Mapping[str, str] | None = None,
    report: Report = refuse,
) -> Iterator[Placed]:
    """Make examples of rows by the names of their columns; see :func:`read_jsonl`.

    Args:
        rows: From a file or data set.
        columns: A name may lead into nested values: ``"translation.sw"``.
        language: See :func:`read_jsonl`.
        codes: The BCP-47 tag of each language code in the rows that is none.
        report: Of bad rows.
    """
    chosen = dict(columns or {})
    for field in chosen:
        if field not in FIELDS:
            raise ConfigError(
                f"columns: unknown field {field!r}; expected one of {listed(FIELDS)}"
                + nearest(field, FIELDS)
            )
    if language is not None:
        language = check_language(language)
        if "language" in chosen:
            raise ConfigError("language is given twice, by language= and by columns; keep one")
    return _place_rows(rows, partial(_place, chosen, language, codes or {}), report)


def _place_rows(
    rows: Iterable[Row], place: Callable[[str, Mapping[str, Any]], Placed], report: Report
) -> Iterator[Placed]:
    for where, row in rows:
        if row is not None and (placed := attempt(report, place, where, row)):
            yield placed


def _place(
    columns: dict[str, str],
    language: str | None,
    codes: Mapping[str, str],
    where: str,
    row: Mapping[str, Any],
) -> Placed:
    required = {"text", "language", *columns} - ({"language"} if language else set())
    keys = {field: columns.get(field, field) for field in FIELDS}
    found = {field: _find(row, key) for field, key in keys.items()}
    for field in sorted(required):
        if found[field] is _ABSENT:
            raise _missing(where, field, keys[field], row)
    values = {
        field: _convert(where, keys[field], field, value)
        for field, value in found.items()
        if value is not _ABSENT and value is not None
    }
    for field in sorted(required - values.keys()):
        raise DataError(f"{where}: {keys[field]!r} is null; expected a value")
    values["language"] = language or codes.get(values["language"], values["language"])
    return build(where, values)


def _find(row: Mapping[str, Any], key: str) -> Any:
    """The value under a key, or, for a key with points, of the values within values."""
    if key in row or "." not in key:
        return row.get(key, _ABSENT)
    head, _, rest = key.partition(".")
    inner = row.get(head)
    return _find(inner, rest) if isinstance(inner, Mapping) else _ABSENT


def _convert(where: str, key: str, field: str, value: Any) -> Any:
    """Turn a value into what the field of an :class:`Example` holds."""
    if field != "choices" and isinstance(value, str):
        return value.strip()
    if field in ("answer", "id") and (text := as_text(value)) is not None:
        return text
    if field == "choices" and isinstance(value, list) and all(isinstance(c, str) for c in value):
        return tuple(value)
    expected = _EXPECTED.get(field, "a text")
    raise DataError(f"{where}: {key!r} must be {expected}, found {kind(value)}")


def build(where: str, values: Mapping[str, Any]) -> Placed:
    """Make an example, and say where it is when it cannot be one.

    Raises:
        DataError: See :class:`Example`.
    """
    try:
        return where, Example(**values)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error


def _missing(where: str, field: str, key: str, row: Mapping[str, Any]) -> DataError:
    advice = "" if field != "language" else ", or state language="
    hint = nearest(key, tuple(row)) or f"; map it with columns {{{field!r}: …}}{advice}"
    return DataError(
        f"{where}: no column {key!r} for {field}; the columns are "
        f"{listed(tuple(row)) or 'none'}{hint}"
    )
