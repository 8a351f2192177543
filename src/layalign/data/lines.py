"""Read text files piece by piece, so that every reader fails in the same clear way."""

import codecs
import gzip
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from layalign.errors import DataError

MAX_SIZE = 1 << 20
"""Longest line, bytes, and longest value of a JSON array, characters.

Far more than any model reads, and far less than what fills the memory.
"""

_CHUNK = 1 << 16


def read_lines(path: str | Path) -> Iterator[tuple[int, str]]:
    """Yield number and text of every line that is not blank.

    Only one line is in memory at a time. A byte-order mark and line ends (LF or CRLF) are removed.

    Args:
        path: A UTF-8 text file, compressed with gzip if its name ends in ``.gz``.

    Raises:
        DataError: The file is missing, a folder, empty, not UTF-8 or a damaged gzip file, or a
            line is longer than ``MAX_SIZE``.
    """
    for number, line in raw_lines(path):
        if line.strip():
            yield number, line.rstrip("\r\n")


def raw_lines(path: str | Path) -> Iterator[tuple[int, str]]:
    """Yield number and text of every line, blank ones and line ends included.

    Raises:
        DataError: As of :func:`read_lines`.
    """
    path = Path(path)
    number, found = 0, False
    with _open(path, lambda: f"line {number}") as file:
        while raw := file.readline(MAX_SIZE + 1):
            number += 1
            if len(raw) > MAX_SIZE:
                raise DataError(
                    f"{path}, line {number}: longer than {MAX_SIZE} bytes (1 MiB); expected a "
                    "text file with one short record a line"
                )
            line = _decode(raw.removeprefix(codecs.BOM_UTF8) if number == 1 else raw, path, number)
            found = found or bool(line.strip())
            yield number, line
    if not found:
        raise empty_file(path)


def read_chunks(path: str | Path) -> Iterator[str]:
    """Yield a file's text in pieces of some 64 KiB, its byte-order mark removed.

    Raises:
        DataError: The file is missing, a folder, not UTF-8 or a damaged gzip file.
    """
    path = Path(path)
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    done = 0
    with _open(path, lambda: f"byte {done}") as file:
        while True:
            raw = file.read(_CHUNK)
            try:
                yield decoder.decode(raw, final=not raw)
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{path}: not UTF-8, found byte 0x{error.object[error.start]:02x} near byte "
                    f"{done + error.start + 1}; save the file as UTF-8"
                ) from error
            if not raw:
                return
            done += len(raw)


def empty_file(path: Path) -> DataError:
    """Say that a file holds nothing."""
    return DataError(f"{path}: the file is empty; expected at least one line")


@contextmanager
def _open(path: Path, position: Callable[[], str]) -> Iterator[BinaryIO]:
    """Open a file, unpacked; ``position`` says how far it was read when gzip finds damage."""
    check_file(path)
    try:
        file = _opened(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    with file:
        try:
            yield file
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(
                f"{path}: damaged or truncated gzip file after {position()} ({error}); "
                "make or download it again"
            ) from error


def _opened(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def check_file(path: Path) -> None:
    """See that a path is that of a file.

    Raises:
        DataError: It is a folder, or is not there.
    """
    if path.is_dir():
        raise DataError(f"{path}: is a folder; expected a file, for example one of its files")
    if not path.exists():
        raise DataError(f"{path}: no such file; check the path{_neighbours(path)}")


def _neighbours(path: Path) -> str:
    """Name a few files that lie where a missing one was expected."""
    if not path.parent.is_dir():
        return f" ({path.parent} does not exist either)"
    files = sorted(entry.name for entry in path.parent.iterdir() if entry.is_file())
    shown = ", ".join(files[:5]) + (", …" if len(files) > 5 else "")
    return f" (that folder holds {shown})" if files else " (that folder holds no files)"


def _decode(raw: bytes, path: Path, number: int) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}, line {number}: not UTF-8, found byte 0x{raw[error.start]:02x} at byte "
            f"{error.start + 1}; save the file as UTF-8"
        ) from error
