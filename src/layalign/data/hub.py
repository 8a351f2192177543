"""Rows that come through ``datasets``: sets of the Hugging Face Hub, and Parquet files.

Both need the ``data`` extra. No code of a data set is ever run.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any

from layalign.data.lines import check_file
from layalign.data.rows import Row
from layalign.errors import DataError, reason

_REMOTE = ("hf://", "https://", "http://")
_BATCH = 1000  # rows of a Parquet file in memory


def hub_rows(hub: str, *, subset: str | None, split: str, revision: str | None) -> Iterator[Row]:
    """Yield the rows of a data set, streamed: only what is read is downloaded.

    Args:
        hub: Data set id, or a local folder that ``datasets`` can load.
        subset: Configuration of the set, if it has several.
        split: Such as ``"test"``.
        revision: Branch, tag or commit.

    Raises:
        DataError: The set cannot be read, or ``datasets`` is not installed.
    """
    datasets = _import("datasets")
    number = 0
    try:
        builder = datasets.load_dataset_builder(hub, subset, revision=revision)
        _check_inside(hub, builder.config.data_files)
        rows = builder.as_streaming_dataset(split=split)
        for number, row in enumerate(rows, start=1):
            yield f"{hub}, row {number}", row
    except Exception as error:  # of whatever library for networks, archives or formats is at work
        raise DataError(
            f"data set {hub!r} cannot be read after row {number}: {reason(error)}; check hub, "
            f"subset ({subset!r}), split ({split!r}) and revision ({revision!r})"
        ) from error
    if not number:
        raise DataError(f"data set {hub!r} has no rows in split {split!r}; choose another split")


def _check_inside(hub: str, data_files: Mapping[Any, Sequence[str]] | None) -> None:
    """Refuse a set whose description names files of this machine that are not the set's own."""
    folder = Path(hub).absolute()
    for file in chain(*(data_files or {}).values()):
        if "://" in file or "::" in file:  # "file://" and chains of protocols lead anywhere
            is_allowed = file.startswith(_REMOTE) and "::" not in file
        else:
            is_allowed = folder in Path(os.path.normpath(Path(file).absolute())).parents
        if not is_allowed:
            raise DataError(f"it names {file!r}, which is not among its own files")


def parquet_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a Parquet file.

    Raises:
        DataError: The file cannot be read, or ``pyarrow`` is not installed.
    """
    check_file(path)
    parquet, number = _import("pyarrow.parquet"), 0
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_BATCH):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path}, row {number}", row
    except (OSError, ValueError) as error:  # pyarrow's own errors are among these
        raise DataError(
            f"{path}: not a readable Parquet file ({reason(error)}); make or download it again"
        ) from error
    if not number:
        raise DataError(f"{path}: the file has no rows; expected at least one")


def _import(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise DataError(
            f"{name} is not installed; it is needed for Parquet files and the Hugging Face Hub: "
            "pip install 'layalign[data]'"
        ) from error
