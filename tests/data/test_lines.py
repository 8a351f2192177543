import gzip
from pathlib import Path

import pytest

from layalign.data.lines import MAX_SIZE, read_chunks, read_lines
from layalign.errors import DataError


def test_numbers_skip_blank_lines(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes("\ufeffone\r\n\r\n  \ntwo".encode())
    assert list(read_lines(file)) == [(1, "one"), (4, "two")]


def test_gzip(tmp_path: Path) -> None:
    file = tmp_path / "a.txt.gz"
    file.write_bytes(gzip.compress("สวัสดี\n".encode()))
    assert list(read_lines(file)) == [(1, "สวัสดี")]


def test_only_line_feeds_end_a_line(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("a\u2028b\x0bc\n", encoding="utf-8")
    assert list(read_lines(file)) == [(1, "a\u2028b\x0bc")]


def test_a_line_has_a_longest_length(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(b"x" * (MAX_SIZE - 1) + b"\n" + b"y" * 10_000_000)
    lines = read_lines(file)
    assert len(next(lines)[1]) == MAX_SIZE - 1
    with pytest.raises(DataError, match=r"a\.txt, line 2: longer than 1048576 bytes \(1 MiB\)"):
        next(lines)


def test_chunks_join_to_the_text(tmp_path: Path) -> None:
    text = "ไทย x\n" * 30_000  # characters of three bytes straddle the pieces
    file = tmp_path / "a.txt.gz"
    file.write_bytes(gzip.compress(("\ufeff" + text).encode()))
    pieces = list(read_chunks(file))
    assert "".join(pieces) == text
    assert max(map(len, pieces)) <= 1 << 16


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"ab\xffc", "not UTF-8, found byte 0xff near byte 3"),
        ("a.txt", "ไ".encode()[:2], "not UTF-8"),
        ("a.txt.gz", gzip.compress(b"x" * 10**6)[:-20], "truncated gzip file after byte"),
    ],
)
def test_bad_chunks(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(DataError, match=message):
        list(read_chunks(file))


def damaged(content: bytes) -> bytes:
    packed = bytearray(gzip.compress(content, compresslevel=0))
    packed[len(packed) // 2] ^= 0x01
    return bytes(packed)


LINES = b"abc def\n" * 1000


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", "the file is empty"),
        ("a.txt", b"\n \n", "the file is empty"),
        ("a.txt.gz", gzip.compress(b"", mtime=0), "the file is empty"),
        ("a.txt", b"ok\nab\xffc\n", "line 2: not UTF-8, found byte 0xff at byte 3"),
        ("a.txt", "abc".encode("utf-16"), "line 1: not UTF-8, found byte 0xff at byte 1"),
        ("a.txt.gz", gzip.compress(LINES, mtime=0)[:-20], "truncated gzip file after line"),
        ("a.txt.gz", damaged(LINES), "damaged or truncated gzip file"),
        ("a.txt.gz", b"not gzip at all", "damaged or truncated gzip file after line 0"),
    ],
)
def test_bad_files(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(DataError) as error:
        list(read_lines(file))
    assert message in str(error.value)
    assert str(error.value).startswith(str(file))


def test_missing_file_lists_its_neighbours(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="that folder holds no files"):
        list(read_lines(tmp_path / "sw.tsv"))
    for i in range(7):
        (tmp_path / f"{i}.tsv").touch()
    with pytest.raises(DataError, match=r"no such file.*holds 0.tsv, 1.tsv, .*4.tsv, …"):
        list(read_lines(tmp_path / "sw.tsv"))
    with pytest.raises(DataError, match="nowhere does not exist either"):
        list(read_lines(tmp_path / "nowhere" / "sw.tsv"))


def test_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a folder; expected a file"):
        list(read_lines(tmp_path))
