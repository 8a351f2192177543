"""Turn a data source into examples, all at once or one after the other."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from layalign.data.cleaning import Cleaner
from layalign.data.example import Example
from layalign.data.folders import language_files
from layalign.data.formats import CORPORA, FORMATS, file_rows, place_corpus
from layalign.data.hub import hub_rows
from layalign.data.readers import Placed, place_bitext, place_bitext_files, place_rows
from layalign.data.rows import Report, Row, refuse
from layalign.data.sources import DataSource
from layalign.data.templates import render
from layalign.data.word_problems import load_word_problems
from layalign.errors import DataError

Read = Callable[[Report], Iterator[Placed]]

Drop = Callable[[str, Example, str], None]
"""Told the place of an example that cleaning drops, the example and the reason."""


def load_examples(source: DataSource) -> list[Example]:
    """Load all examples of a source, in its order.

    Raises:
        DataError: A file cannot be read, an id occurs twice in a language, or nothing is left.
        ConfigError: A setting of the source does not fit the data.
    """
    return list(iter_examples(source))


def iter_examples(source: DataSource) -> Iterator[Example]:
    """Yield the examples of a source, in its order, with no more than a piece of it in memory.

    What is remembered of a row is a number for its id. A part of which the language is known
    beforehand is read no further than ``limit``.

    Raises:
        DataError: As of :func:`load_examples`, but when the reader gets there.
        ConfigError: A setting of the source does not fit the data.
    """
    for _, example in read_source(source):
        yield templated(source, example)


def templated(source: DataSource, example: Example) -> Example:
    """An example in the words of its source's template."""
    if source.template is None:
        return example
    return dataclasses.replace(example, text=render(source.template, example))


def read_source(
    source: DataSource, *, report: Report | None = None, drop: Drop | None = None
) -> Iterator[Placed]:
    """Yield the examples of a source with their places, cleaned but without its template.

    Args:
        source: Its ``limit`` counts what cleaning leaves.
        report: Of bad rows; by default as the source's ``clean`` says, and without it they are
            errors.
        drop: Told of everything that cleaning drops. With it, a source of which nothing is left is
            no error.

    Raises:
        DataError: See :func:`iter_examples`.
    """
    if report is None:
        skips = source.clean is not None and source.clean.bad_rows == "skip"
        report = _ignore if skips else refuse
    cleaner = None if source.clean is None else Cleaner(source.clean)
    kept: Counter[str] = Counter()
    for language, read in _parts(source):
        placed = _wanted(source, _without_repeats(read, report), kept)
        for where, example in placed if cleaner is None else _cleaned(placed, cleaner, drop):
            kept[example.language] += 1
            yield where, example
            if language is not None and kept[language] == source.limit:
                break
    n_dropped = 0 if cleaner is None else cleaner.dropped.total()
    if not kept and not (n_dropped and drop is not None):
        raise _nothing(source, n_dropped)


def _wanted(source: DataSource, placed: Iterator[Placed], kept: Counter[str]) -> Iterator[Placed]:
    """Those of the languages wanted, while their limit is not reached."""
    for where, example in placed:
        if source.languages is not None and example.language not in source.languages:
            continue
        if source.limit is None or kept[example.language] < source.limit:
            yield where, example


def _cleaned(placed: Iterator[Placed], cleaner: Cleaner, drop: Drop | None) -> Iterator[Placed]:
    for where, example in placed:
        reason = cleaner.reason(example)
        if reason is None:
            yield where, example
        elif drop is not None:
            drop(where, example, reason)


def _nothing(source: DataSource, n_dropped: int) -> DataError:
    if n_dropped:
        return DataError(
            f"{source.label}: clean drops all {n_dropped} examples; see why with "
            "'layalign data check', and change its settings"
        )
    chosen = f" in {', '.join(source.languages)}; check languages" if source.languages else ""
    return DataError(f"{source.label}: no examples{chosen}")


def _ignore(error: DataError) -> None:
    pass


def _parts(source: DataSource) -> list[tuple[str | None, Read]]:
    """The parts of a source that are read one after the other, with the language of each."""
    if source.name is not None:
        return [(None, partial(_read_named, source))]
    if source.hub is not None:
        return [(source.language, partial(_read_hub, source))]
    path = Path(source.path or "")
    if not source.is_folder:
        return [(source.language, partial(_read_file, source, path, source.language))]
    files = language_files(
        path,
        format=source.format or "",
        endings=FORMATS[source.format or ""].endings,
        split=source.split,
        codes=source.codes,
        languages=source.languages,
    )
    return [(tag, partial(_read_file, source, file, tag)) for file, tag in files]


def _read_named(source: DataSource, report: Report) -> Iterator[Placed]:
    examples = load_word_problems(
        source.split or "",
        languages=source.languages,
        target=source.target,
        limit=None if source.clean else source.limit,
    )
    return ((f"{source.name}, {e.id} in {e.language}", e) for e in examples)


def _read_hub(source: DataSource, report: Report) -> Iterator[Placed]:
    rows = hub_rows(
        source.hub or "",
        subset=source.subset,
        split=source.split or "",
        revision=source.revision,
    )
    return _place(source, rows, source.language, report)


def _read_file(
    source: DataSource, path: Path, language: str | None, report: Report
) -> Iterator[Placed]:
    if source.format == "bitext":
        columns = source.columns if isinstance(source.columns, tuple) else (0, 1)
        return place_bitext(path, language or "", columns, report)
    if source.format == "bitext_files":
        return place_bitext_files(path, Path(source.target_path or ""), language or "", report)
    rows = file_rows(path, FORMATS[source.format or ""], report)
    return _place(source, rows, language, report)


def _place(
    source: DataSource, rows: Iterator[Row], language: str | None, report: Report
) -> Iterator[Placed]:
    codes = source.codes or {}
    if source.format in CORPORA:
        format_ = FORMATS[source.format]
        return place_corpus(rows, format_, language=language, codes=codes, report=report)
    columns = source.columns if isinstance(source.columns, Mapping) else None
    return place_rows(rows, columns=columns, language=language, codes=codes, report=report)


def _without_repeats(read: Read, report: Report) -> Iterator[Placed]:
    """Yield examples; a second one with the same language and id is a bad row.

    Only hashes are remembered. When one occurs again, the first place is looked up by reading
    once more; if that is the same place, only the hashes agree.
    """
    seen: set[int] = set()
    for where, example in read(report):
        key = hash((example.language, example.id))
        if example.id is not None and key in seen:
            first = next(
                place
                for place, other in read(_ignore)
                if (other.language, other.id) == (example.language, example.id)
            )
            if first != where:
                report(
                    DataError(
                        f"{where}: id {example.id!r} of language {example.language!r} was already "
                        f"at {first}; ids must be unique in a language"
                    )
                )
                continue
        seen.add(key)
        yield where, example
