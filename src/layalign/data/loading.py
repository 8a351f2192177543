"""Turn a data source into examples, all at once or one after the other."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from layalign.data.example import Example
from layalign.data.folders import language_files
from layalign.data.formats import CORPORA, FORMATS, file_rows, place_corpus
from layalign.data.hub import hub_rows
from layalign.data.readers import Placed, place_bitext, place_bitext_files, place_rows
from layalign.data.rows import Row
from layalign.data.sources import DataSource
from layalign.data.templates import render
from layalign.data.word_problems import load_word_problems
from layalign.errors import DataError

Read = Callable[[], Iterator[Placed]]


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
    found = False
    for example in _selected(source):
        found = True
        if source.template is not None:
            example = dataclasses.replace(example, text=render(source.template, example))
        yield example
    if not found:
        chosen = f" in {', '.join(source.languages)}; check languages" if source.languages else ""
        raise DataError(f"{source.label}: no examples{chosen}")


def _selected(source: DataSource) -> Iterator[Example]:
    """Yield the examples of the languages wanted, up to the limit of each."""
    if source.name is not None:
        yield from load_word_problems(
            source.split or "",
            languages=source.languages,
            target=source.target,
            limit=source.limit,
        )
        return
    kept: Counter[str] = Counter()
    for language, read in _parts(source):
        for example in _without_repeats(read):
            if source.languages is not None and example.language not in source.languages:
                continue
            if source.limit is not None and kept[example.language] >= source.limit:
                continue
            kept[example.language] += 1
            yield example
            if language is not None and kept[language] == source.limit:
                break


def _parts(source: DataSource) -> list[tuple[str | None, Read]]:
    """The parts of a source that are read one after the other, with the language of each."""
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


def _read_hub(source: DataSource) -> Iterator[Placed]:
    rows = hub_rows(
        source.hub or "",
        subset=source.subset,
        split=source.split or "",
        revision=source.revision,
    )
    return _place(source, rows, source.language)


def _read_file(source: DataSource, path: Path, language: str | None) -> Iterator[Placed]:
    if source.format == "bitext":
        columns = source.columns if isinstance(source.columns, tuple) else (0, 1)
        return place_bitext(path, language or "", columns)
    if source.format == "bitext_files":
        return place_bitext_files(path, Path(source.target_path or ""), language or "")
    return _place(source, file_rows(path, FORMATS[source.format or ""]), language)


def _place(source: DataSource, rows: Iterator[Row], language: str | None) -> Iterator[Placed]:
    codes = source.codes or {}
    if source.format in CORPORA:
        return place_corpus(rows, FORMATS[source.format], language=language, codes=codes)
    columns = source.columns if isinstance(source.columns, Mapping) else None
    return place_rows(rows, columns=columns, language=language, codes=codes)


def _without_repeats(read: Read) -> Iterator[Example]:
    """Yield examples, and refuse a second one with the same language and id.

    Only hashes are remembered. When one occurs again, the first place is looked up by reading
    once more; if that is the same place, only the hashes agree.
    """
    seen: set[int] = set()
    for where, example in read():
        key = hash((example.language, example.id))
        if example.id is not None and key in seen:
            first = next(
                place
                for place, other in read()
                if (other.language, other.id) == (example.language, example.id)
            )
            if first != where:
                raise DataError(
                    f"{where}: id {example.id!r} of language {example.language!r} was already "
                    f"at {first}; ids must be unique in a language"
                )
        seen.add(key)
        yield example
