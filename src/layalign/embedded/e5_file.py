"""Read the 4-bit file of multilingual-e5-small: geometry, tokenizer pieces, tensors.

The file holds everything in one block of little-endian bytes: a header with the geometry, the
SentencePiece pieces with their scores, a character table, a directory of tensors, the tensors. Its
layout is checked at every step, so a damaged file is an error and never a model that is subtly
wrong.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from layalign.errors import DownloadError

MAGIC = b"E5S1"
FORMAT_VERSION = 1
HEADER_LAYOUT = "7ifii4i"  # the fields of E5Header
KIND_FLOAT32, KIND_Q4 = 0, 1
GROUP = 32
GROUP_BYTES = 2 + GROUP // 2  # a float16 scale, then two codes a byte


@dataclass(frozen=True, kw_only=True)
class TensorEntry:
    """Where one tensor lies in the file."""

    kind: int
    n_values: int
    offset: int
    n_bytes: int


class E5Header(NamedTuple):
    """The header's numbers, in the order of the file."""

    hidden_size: int
    n_layers: int
    n_heads: int
    intermediate_size: int
    n_rows: int
    """Rows of the word embedding; at least the number of pieces."""
    n_positions: int
    n_types: int
    layer_norm_eps: float
    group: int
    n_pieces: int
    bos: int
    eos: int
    pad: int
    unk: int

    def problem(self) -> str | None:
        """Return what is impossible about the numbers, None if nothing is."""
        counts = (*self[:7], self.n_pieces)
        if min(counts) < 1 or self.n_pieces > self.n_rows or self.hidden_size % self.n_heads:
            return f"sizes {counts} are not possible"
        if self.group != GROUP:
            return f"expected groups of {GROUP} values, got {self.group}"
        if not all(0 <= special < self.n_pieces for special in self[-4:]):
            return f"special ids {self[-4:]} are outside the {self.n_pieces} pieces"
        return None


@dataclass(frozen=True, kw_only=True)
class E5File:
    """The checked contents of one file; tensors are unpacked on demand."""

    data: memoryview
    header: E5Header
    pieces: list[tuple[str, float]]
    """Piece and log-probability, in the order of their ids."""
    tensors: dict[str, TensorEntry]

    def tensor(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Return one tensor as float32 values.

        Raises:
            DownloadError: The stored size is not that of ``shape``.
        """
        entry = self.tensors[name]
        if entry.n_values != math.prod(shape):
            raise DownloadError(
                f"e5 file is damaged: tensor {name} has {entry.n_values} values, expected "
                f"{math.prod(shape)}; delete the file and fetch again"
            )
        block = self.data[entry.offset : entry.offset + entry.n_bytes]
        if entry.kind == KIND_FLOAT32:
            return np.frombuffer(block, dtype="<f4").astype(np.float32).reshape(shape)
        return unpack_q4(block).reshape(shape)


def unpack_q4(block: bytes | memoryview) -> NDArray[np.float32]:
    """Unpack 4-bit values: ``scale * (code - 8)`` in groups of 32.

    Args:
        block: Groups of 18 bytes: a float16 scale, then 16 bytes whose low halves are the codes of
            values 0-15 and whose high halves are those of values 16-31.

    Returns:
        ``(32 * groups,)`` values.
    """
    groups = np.frombuffer(block, dtype=np.uint8).reshape(-1, GROUP_BYTES)
    scales = groups[:, :2].copy().view("<f2").astype(np.float32)  # (groups, 1)
    codes = np.empty((len(groups), GROUP), dtype=np.float32)
    codes[:, : GROUP // 2] = groups[:, 2:] & 0x0F
    codes[:, GROUP // 2 :] = groups[:, 2:] >> 4
    codes -= 8
    codes *= scales
    return codes.reshape(-1)


class _Cursor:
    """Read packed little-endian values one after the other, never past the end."""

    def __init__(self, data: memoryview, path: Path) -> None:
        self.data, self.path, self.position = data, path, 0

    def fail(self, problem: str) -> DownloadError:
        return DownloadError(f"{self.path.name} is damaged: {problem}; delete it and fetch again")

    def take(self, n_bytes: int) -> memoryview:
        end = self.position + n_bytes
        if n_bytes < 0 or end > len(self.data):
            raise self.fail(
                f"expected {n_bytes} more bytes at byte {self.position}, the file has "
                f"{len(self.data)} in all"
            )
        start, self.position = self.position, end
        return self.data[start:end]

    def unpack(self, layout: str) -> tuple[Any, ...]:
        layout = "<" + layout
        return struct.unpack(layout, self.take(struct.calcsize(layout)))

    def array(self, dtype: str, count: int) -> NDArray[Any]:
        return np.frombuffer(self.take(count * np.dtype(dtype).itemsize), dtype=dtype)


def read_e5(path: Path) -> E5File:
    """Read and check a file.

    Args:
        path: The file.

    Returns:
        Geometry, pieces and the places of the tensors.

    Raises:
        DownloadError: It is not such a file, or it is cut or damaged.
    """
    cursor = _Cursor(memoryview(path.read_bytes()), path)
    magic, version = cursor.unpack("4sI")
    if magic != MAGIC or version != FORMAT_VERSION:
        raise cursor.fail(
            f"expected magic {MAGIC!r} and version {FORMAT_VERSION}, got {magic!r} and {version}"
        )
    header = E5Header(*cursor.unpack(HEADER_LAYOUT))
    problem = header.problem()
    if problem is not None:
        raise cursor.fail(problem)
    pieces = _read_pieces(cursor, header.n_pieces)
    _, table_bytes = cursor.unpack("iI")
    cursor.take(table_bytes)  # the character table; the tokenizer uses NFKC instead
    return E5File(
        data=cursor.data, header=header, pieces=pieces, tensors=dict(_read_directory(cursor))
    )


def _read_pieces(cursor: _Cursor, n_pieces: int) -> list[tuple[str, float]]:
    (text_bytes,) = cursor.unpack("Q")
    starts = cursor.array("<u4", n_pieces + 1).tolist()
    scores = cursor.array("<f4", n_pieces).tolist()
    text = bytes(cursor.take(text_bytes))
    if starts[0] != 0 or starts[-1] != text_bytes or starts != sorted(starts):
        raise cursor.fail("the pieces do not fill the piece text in order")
    try:
        pieces = [text[a:b].decode() for a, b in pairwise(starts)]
    except UnicodeDecodeError as error:
        raise cursor.fail(f"a piece is not UTF-8 ({error})") from error
    if len(set(pieces)) != n_pieces or not np.isfinite(scores).all():
        raise cursor.fail("pieces repeat or have scores that are not numbers")
    return list(zip(pieces, scores, strict=True))


def _read_directory(cursor: _Cursor) -> Iterator[tuple[str, TensorEntry]]:
    (n_tensors,) = cursor.unpack("i")
    for _ in range(n_tensors):
        (name_bytes,) = cursor.unpack("H")
        name = bytes(cursor.take(name_bytes)).decode("ascii", errors="replace")
        kind, n_values, offset, n_bytes = cursor.unpack("BIQQ")
        expected = {KIND_FLOAT32: 4 * n_values, KIND_Q4: n_values // GROUP * GROUP_BYTES}.get(kind)
        if n_bytes != expected or (kind == KIND_Q4 and n_values % GROUP):
            raise cursor.fail(
                f"tensor {name} of kind {kind} with {n_values} values has {n_bytes} bytes"
            )
        if offset + n_bytes > len(cursor.data):
            raise cursor.fail(f"tensor {name} ends at byte {offset + n_bytes}, past the end")
        yield name, TensorEntry(kind=kind, n_values=n_values, offset=offset, n_bytes=n_bytes)
