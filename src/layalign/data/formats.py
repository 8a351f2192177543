"""The formats that data can have, by name, and how a file or data set of one becomes examples."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from layalign.data import corpora
from layalign.data.corpora import Record
from layalign.data.folders import ending
from layalign.data.hub import parquet_rows
from layalign.data.languages import check_language
from layalign.data.readers import Placed, build
from layalign.data.rows import (
    Report,
    Row,
    attempt,
    csv_rows,
    json_line_rows,
    json_rows,
    refuse,
    tsv_rows,
)
from layalign.errors import DataError

_ROWS: dict[str, Callable[[Path, Sequence[str], Report], Iterator[Row]]] = {
    ".jsonl": lambda path, _, report: json_line_rows(path, report),
    ".json": lambda path, _, report: json_rows(path, report),
    ".csv": lambda path, _, report: csv_rows(path, report),
    ".tsv": tsv_rows,
    ".parquet": lambda path, *_: parquet_rows(path),  # whose rows are all good or none
}


@dataclass(frozen=True, kw_only=True)
class Format:
    """How data of one name is read."""

    endings: tuple[str, ...] = tuple(_ROWS)
    """Of the files in a folder; the first one's reader reads files of any other ending."""

    convert: Callable[[Record], dict[str, Any]] | None = None
    """What a corpus's row means; None where the user names columns."""

    columns: tuple[str, ...] = ()
    """Names of the columns of tab-separated files that come without a header."""

    parts: tuple[str, ...] = ()
    """Names in :attr:`Example.parts`."""


_MATH = Format(convert=corpora.math_question, columns=("question", "answer"))

FORMATS: Mapping[str, Format] = {
    "jsonl": Format(endings=(".jsonl", ".json")),
    "csv": Format(endings=(".csv", ".tsv")),
    "parquet": Format(endings=(".parquet",)),
    "bitext": Format(endings=(".tsv",)),
    "bitext_files": Format(endings=(".txt",)),
    "mgsm": _MATH,
    "afrimgsm": _MATH,
    "msvamp": _MATH,
    "gsm_questions": Format(convert=corpora.gsm_question),
    "metamath": Format(convert=corpora.metamath),
    "x_csqa": Format(convert=corpora.csqa, parts=("stem",)),
    "xnli": Format(convert=corpora.nli, parts=("premise", "hypothesis")),
    "xcopa": Format(convert=corpora.copa, parts=("premise", "question")),
}

CORPORA = tuple(name for name, format_ in FORMATS.items() if format_.convert is not None)
"""Formats whose columns are known."""


def file_rows(path: Path, format: Format, report: Report = refuse) -> Iterator[Row]:
    """Yield the rows of a file of a format, by the file's ending.

    Raises:
        DataError: The file cannot be read.
    """
    found = ending(path)
    known = found if found in format.endings else format.endings[0]
    return _ROWS[known](path, format.columns, report)


def place_corpus(
    rows: Iterable[Row],
    format: Format,
    *,
    language: str | None,
    codes: Mapping[str, str],
    report: Report = refuse,
) -> Iterator[Placed]:
    """Make examples of a corpus's rows.

    Args:
        rows: From a file or data set.
        format: Of a corpus.
        language: BCP-47 tag of all rows, for rows that do not state it.
        codes: The BCP-47 tag of each language code in the rows that is none.
        report: Of bad rows.

    Raises:
        DataError: A row is not what the format expects, or its language is unknown or another one.
    """
    convert = format.convert
    assert convert is not None

    def place(row: Record) -> Placed:
        return build(row.where, {**convert(row), "language": _language(row, language, codes)})

    for index, (where, values) in enumerate(rows):
        if values is not None and (placed := attempt(report, place, Record(where, index, values))):
            yield placed


def _language(row: Record, language: str | None, codes: Mapping[str, str]) -> str:
    found = row.get("language", "lang")
    if found is None and language is not None:
        return language
    if not isinstance(found, str):
        raise row.error("the row states no language; set language to the BCP-47 tag of all rows")
    try:
        tag = check_language(codes.get(found, found))
    except DataError as error:
        raise row.error(f"{error}; or map the code with codes {{{found!r}: …}}") from error
    if language not in (None, tag):
        raise row.error(
            f"is of language {found!r}, but {language!r} was expected; choose among the languages "
            "of a file with languages"
        )
    return tag
