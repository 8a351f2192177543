"""Read text files line by line, so that every reader fails in the same clear way."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from layalign.errors import DataError

_BOM = b"\xef\xbb\xbf"


def read_lines(path: str | Path) -> Iterator[tuple[int, str]]:
    """Yield number and text of every line that is not blank.

    Only one line is in memory at a time. A byte-order mark and line ends (LF or CRLF) are removed.

    Args:
        path: A UTF-8 text file, compressed with gzip if its name ends in ``.gz``.

    Raises:
        DataError: The file is missing, a folder, empty, not UTF-8 or a damaged gzip file.
    """
    path = Path(path)
    number, found = 0, False
    try:
        with _open(path) as file:
            for number, raw in enumerate(file, start=1):
                line = _decode(raw.removeprefix(_BOM) if number == 1 else raw, path, number)
                if line.strip():
                    found = True
                    yield number, line
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            f"{path}: damaged or truncated gzip file after line {number} ({error}); "
            "make or download it again"
        ) from error
    if not found:
        raise DataError(f"{path}: the file is empty; expected at least one line")


def _open(path: Path) -> BinaryIO:
    if path.is_dir():
        raise DataError(f"{path}: is a folder; expected a file, for example one of its files")
    try:
        return cast(BinaryIO, gzip.open(path)) if path.suffix == ".gz" else path.open("rb")
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; check the path{_neighbours(path)}") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def _neighbours(path: Path) -> str:
    """Name a few files that lie where the missing one was expected."""
    if not path.parent.is_dir():
        return f" ({path.parent} does not exist either)"
    files = sorted(entry.name for entry in path.parent.iterdir() if entry.is_file())
    shown = ", ".join(files[:5]) + (", …" if len(files) > 5 else "")
    return f" (that folder holds {shown})" if files else " (that folder holds no files)"


def _decode(raw: bytes, path: Path, number: int) -> str:
    try:
        return raw.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}, line {number}: not UTF-8, found byte 0x{raw[error.start]:02x} at byte "
            f"{error.start + 1}; save the file as UTF-8"
        ) from error
