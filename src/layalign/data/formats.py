"""The formats that data can have, by name, and how a file or data set of one becomes examples."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from layalign.data import corpora
from layalign.data.corpora import Record
from layalign.data.folders import ending
from layalign.data.hub import parquet_rows
from layalign.data.languages import check_language
from layalign.data.readers import Placed, build
from layalign.data.rows import Row, csv_rows, json_line_rows, json_rows, tsv_rows
from layalign.errors import DataError

_ROWS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".jsonl": json_line_rows,
    ".json": json_rows,
    ".csv": csv_rows,
    ".tsv": tsv_rows,
    ".parquet": parquet_rows,
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


def file_rows(path: Path, format: Format) -> Iterator[Row]:
    """Yield the rows of a file of a format, by the file's ending.

    Raises:
        DataError: The file cannot be read.
    """
    found = ending(path)
    known = found if found in format.endings else format.endings[0]
    return tsv_rows(path, format.columns) if known == ".tsv" else _ROWS[known](path)


def place_corpus(
    rows: Iterable[Row], format: Format, *, language: str | None, codes: Mapping[str, str]
) -> Iterator[Placed]:
    """Make examples of a corpus's rows.

    Args:
        rows: From a file or data set.
        format: Of a corpus.
        language: BCP-47 tag of all rows, for rows that do not state it.
        codes: The BCP-47 tag of each language code in the rows that is none.

    Raises:
        DataError: A row is not what the format expects, or its language is unknown or another one.
    """
    assert format.convert is not None
    for index, (where, values) in enumerate(rows):
        row = Record(where, index, values)
        yield build(where, {**format.convert(row), "language": _language(row, language, codes)})


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
