"""The leak guard: test questions that are in the training data too."""

import dataclasses
import logging
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Literal

from layalign.data.example import Example
from layalign.data.folders import name_words
from layalign.data.languages import is_language
from layalign.data.loading import read_source, templated
from layalign.data.normal import contents
from layalign.data.sources import DataSource
from layalign.errors import DataError

_SHOWN = 3


class LeakGuard:
    """Compare what is trained on with what is tested on, while both are read.

    Test sources are read first. A test question is in the training data if

    * it is the text there, or the target of a translation pair, but for case, punctuation and
      spaces (:func:`contents`); options of a question belong to it; templates do not matter; or
    * its id is there in any language, in the same set: of the same name, or id on the Hub, and
      split; or of the same format, folder and split, where files may differ in the language that
      their names say. Ids of different sets agree by accident and are not compared.

    The test questions' normal forms are in memory, not the training data.
    """

    def __init__(self) -> None:
        """Begin without test questions."""
        self._places: dict[Hashable, list[str]] = {}
        self._n_tested = 0
        self.leaks: dict[str, str] = {}
        """Where a test question stands, and where in the training data."""

    def test(self, source: DataSource) -> Iterator[Example]:
        """Yield the examples of a test source as :func:`iter_examples` does, and remember them."""
        family = _family(source)
        for where, example in _raw(source):
            self._n_tested += 1
            for key in _keys(family, example):
                self._places.setdefault(key, []).append(where)
            yield templated(source, example)

    def training(self, source: DataSource) -> Iterator[Example]:
        """Yield the examples of a training source as :func:`iter_examples` does, and compare."""
        family = _family(source)
        for where, example in _raw(source):
            keys = _keys(family, example)
            if example.target is not None and example.answer is None:
                keys.append(_question(example.target))
            for key in keys:
                for place in self._places.get(key, ()):
                    self.leaks.setdefault(place, where)
            yield templated(source, example)

    def settle(self, on_leak: Literal["refuse", "warn"]) -> None:
        """Say what was found, if anything was.

        Args:
            on_leak: Whether that is an error or a warning in the log.

        Raises:
            DataError: Test questions are in the training data.
        """
        if not self.leaks:
            return
        first = list(self.leaks.items())[:_SHOWN]
        message = (
            f"{len(self.leaks)} of {self._n_tested} test questions are in the training data too: "
            + "; ".join(f"{test} is {training}" for test, training in first)
            + ("; …" if len(self.leaks) > _SHOWN else "")
        )
        if on_leak == "refuse":
            raise DataError(f"{message}. Take them out, or set data.on_leak to warn")
        logging.getLogger(__name__).warning("%s", message)


def _raw(source: DataSource) -> Iterator[tuple[str, Example]]:
    return read_source(dataclasses.replace(source, template=None))


def _keys(family: Hashable, example: Example) -> list[Hashable]:
    keys = [_question(example.text, *example.choices)]
    return keys if example.id is None else [*keys, (family, example.id)]


def _question(*texts: str) -> Hashable:
    return tuple(contents(text) or text for text in texts)


def _family(source: DataSource) -> Hashable:
    """What sources have in common whose equal ids mean translations of one item."""
    if source.path is None:
        return source.label, source.split
    path = Path(source.path).resolve()
    if source.is_folder:
        return source.format, path, source.split or ""
    # sw.jsonl, test.sw.jsonl and sw/test.jsonl are parts of the folders that hold all languages.
    folder = path.parent.parent if is_language(path.parent.name) else path.parent
    words = [word for word in name_words(path) if word != source.format and not is_language(word)]
    return source.format, folder, "_".join(words)
