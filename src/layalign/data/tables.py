"""Examples that need not fit in memory: many of them go to a file and are read back by index.

The files are Arrow tables of ``datasets``, which maps them into memory instead of loading them.
"""

from __future__ import annotations

import logging
import os
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from importlib import import_module
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import IO, Any, overload

import numpy as np

from layalign import processes
from layalign.data.example import Example
from layalign.durable import drop_unless_sealed, seal
from layalign.errors import DataError

MEMORY = 2**26
"""About how many bytes of examples :func:`hold` leaves in memory."""

Tell = Callable[[int, int], None]
"""Called with how many are done, and how many there are."""

_OVERHEAD = 1000  # bytes that an example takes beside its characters, roughly
_BATCH = 500  # rows that are read or written at a time
_PART = 20_000  # examples whose ids are in one file: what a process takes at a time
_COLUMNS = ("text", "language", "target", "id")


class ExampleTable(Sequence[Example]):
    """Examples in a file, made anew whenever they are read.

    Only what training reads is there: text, language, target and id. Other processes can be sent a
    table; they find the same file.

    Args:
        rows: A ``datasets.Dataset`` of those columns.
        folder: Where :meth:`tokenised` leaves its files.
        digest: Of the contents.
        tell: Called while the examples are tokenised.
    """

    def __init__(self, rows: Any, folder: Path, digest: str, tell: Tell | None = None) -> None:
        """Keep the arguments."""
        self.rows = rows
        self.folder = folder
        self.digest = digest
        self.tell = tell

    @classmethod
    def write(
        cls, examples: Iterable[Example], path: Path, tell: Tell | None = None
    ) -> ExampleTable:
        """Write examples to a file, with no more than a few hundred of them in memory.

        Args:
            examples: At least one.
            path: The file, written under another name and then renamed.
            tell: See :class:`ExampleTable`.

        Raises:
            DataError: It cannot be written.
        """
        digest = blake2b(digest_size=16)
        with _renamed_when_complete(path) as file:
            writer = import_module("datasets.arrow_writer").ArrowWriter(
                stream=file,
                features=_features(dict.fromkeys(_COLUMNS, "string")),
                writer_batch_size=_BATCH,
            )
            for example in examples:
                row = {name: getattr(example, name) for name in _COLUMNS}
                digest.update(repr(row).encode())
                writer.write(row)
            writer.finalize(close_stream=False)
        rows = import_module("datasets").Dataset.from_file(str(path))
        return cls(rows, path.parent, digest.hexdigest(), tell)

    def __getstate__(self) -> dict[str, Any]:
        """What is sent to other processes, who tell nobody."""
        return {**vars(self), "tell": None}

    def __len__(self) -> int:
        """Number of examples."""
        return len(self.rows)

    def __iter__(self) -> Iterator[Example]:
        """Examples in their order, faster than by index."""
        for batch in self.rows.iter(batch_size=_BATCH):
            yield from _examples(batch)

    @overload
    def __getitem__(self, index: int) -> Example: ...

    @overload
    def __getitem__(self, index: slice) -> ExampleTable: ...

    def __getitem__(self, index: int | slice) -> Example | ExampleTable:
        """One example, or a table of several."""
        if isinstance(index, slice):
            return self.select(array("q", range(len(self))[index]))
        return Example(**self.rows[int(index)])

    def select(self, indices: array[int]) -> ExampleTable:
        """A table of chosen examples; nothing is copied but the indices."""
        digest = blake2b(self.digest.encode() + indices.tobytes(), digest_size=16).hexdigest()
        rows = self.rows.select(np.frombuffer(indices, np.int64), new_fingerprint=digest)
        return ExampleTable(rows, self.folder, digest, self.tell)

    def tokenised(
        self,
        encode: Callable[[int, Example], Mapping[str, list[Any]]],
        types: Mapping[str, str],
        *,
        key: str,
    ) -> Sequence[dict[str, list[Any]]]:
        """Make lists of ids of all examples, in files that are read back by index.

        What this table's files of that key hold, if they are whole, is not made again. Several
        processes share the others: this is collective, see :mod:`layalign.processes`.

        Args:
            encode: From an example and its index to the lists.
            types: Of the values in each list.
            key: Something that differs whenever ``encode`` does. The main process's counts.

        Raises:
            DataError: A file cannot be written.
            LayAlignError: Another process could not do its share.
        """
        content = f"{self.digest} {processes.by_main(lambda: key)}"
        name = blake2b(content.encode(), digest_size=16).hexdigest()
        starts = range(0, len(self), _PART)
        paths = [self.folder / f"tokens-{name}-{start}.arrow" for start in starts]
        with processes.together():
            for part in range(processes.rank(), len(paths), processes.count()):
                self._tokenise(encode, types, starts[part], paths[part])
        datasets = import_module("datasets")
        made: Sequence[dict[str, list[Any]]] = datasets.concatenate_datasets(
            [datasets.Dataset.from_file(str(path)) for path in paths]
        )
        return made

    def _tokenise(
        self,
        encode: Callable[[int, Example], Mapping[str, list[Any]]],
        types: Mapping[str, str],
        start: int,
        path: Path,
    ) -> None:
        """Make the file with the ids of the examples from ``start`` on, unless it is there."""

        def encode_batch(
            batch: Mapping[str, list[Any]], indices: list[int]
        ) -> dict[str, list[list[Any]]]:
            made = list(map(encode, (start + index for index in indices), _examples(batch)))
            if self.tell is not None:
                self.tell(start + indices[-1] + 1, len(self))
            return {name: [feature[name] for feature in made] for name in types}

        with _writing(path):
            drop_unless_sealed(path)
            if not path.exists():
                self.rows.select(range(start, min(start + _PART, len(self)))).map(
                    encode_batch,
                    with_indices=True,
                    batched=True,
                    batch_size=_BATCH,
                    writer_batch_size=_BATCH,
                    remove_columns=list(_COLUMNS),
                    features=_features(types, lists=True),
                    cache_file_name=str(path),
                    load_from_cache_file=False,
                    new_fingerprint=path.stem,
                    desc="Tokenising",
                )
                seal(path)


def hold(examples: Iterable[Example], path: Path, *, tell: Tell | None = None) -> Sequence[Example]:
    """Keep examples to be read by index: few as a list, many in a file.

    Few are those that take about :data:`MEMORY` bytes. Without ``datasets`` (extra ``data``) any
    number is kept in memory, and the log says so.

    Args:
        examples: Read once.
        path: The file, which is only made if it is needed.
        tell: Of those in a file; see :class:`ExampleTable`.

    Raises:
        DataError: The file cannot be written.
    """
    stream, few, size = iter(examples), [], 0
    for example in stream:
        few.append(example)
        size += _OVERHEAD + len(example.text) + len(example.target or "")
        if size > MEMORY:
            break
    else:
        return few
    if find_spec("datasets") is None:
        logging.getLogger(__name__).warning(
            "holding more than %d examples in memory; to read them from disk: "
            "pip install 'layalign[data]'",
            len(few),
        )
        return [*few, *stream]
    return ExampleTable.write(chain(few, stream), path, tell)


def select(examples: Sequence[Example], indices: array[int]) -> Sequence[Example]:
    """Chosen examples, held as the others are."""
    if isinstance(examples, ExampleTable):
        return examples.select(indices)
    return [examples[index] for index in indices]


def indices_by_language(examples: Iterable[Example]) -> dict[str, array[int]]:
    """Where the examples of each language are, in the order of the languages' first ones."""
    found: dict[str, array[int]] = {}
    for index, example in enumerate(examples):
        found.setdefault(example.language, array("q")).append(index)
    return found


def _examples(batch: Mapping[str, list[Any]]) -> Iterator[Example]:
    columns = [batch[name] for name in _COLUMNS]
    for values in zip(*columns, strict=True):
        yield Example(**dict(zip(_COLUMNS, values, strict=True)))


def _features(types: Mapping[str, str], *, lists: bool = False) -> Any:
    datasets = import_module("datasets")
    values = {name: datasets.Value(type_) for name, type_ in types.items()}
    return datasets.Features({name: [value] if lists else value for name, value in values.items()})


@contextmanager
def _renamed_when_complete(path: Path) -> Iterator[IO[bytes]]:
    """Give a file to write, which becomes ``path`` if nothing fails; else nothing is left of it."""
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            try:
                yield file
            except BaseException:
                os.unlink(file.name)
                raise
        os.replace(file.name, path)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            f"cannot write {path} ({error.strerror or error}); choose a folder that can be written "
            "to and has room for the training data"
        ) from error
