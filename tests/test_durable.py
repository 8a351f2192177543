"""Files and folders that are whole or absent."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from factories import make_language_model
from layalign.durable import (
    damage,
    drop_unless_sealed,
    let_others_read,
    lock,
    rename_when_complete,
    seal,
)
from layalign.durable import replace_file as replace


def make(folder: Path) -> Path:
    with rename_when_complete(folder) as temporary:
        (temporary / "inner").mkdir()
        (temporary / "inner" / "weights").write_bytes(bytes(range(200)))
        (temporary / "empty").touch()
    return folder


def test_a_file_is_the_old_or_the_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    replace(file, b"old")
    replace(file, b"new")
    assert file.read_bytes() == b"new"

    def fail(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="No space"):
        replace(file, b"newer")
    assert file.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [file]


def test_a_folder_is_there_when_it_is_complete(tmp_path: Path) -> None:
    def fail() -> None:
        with rename_when_complete(tmp_path / "one") as temporary:
            (temporary / "file").write_text("half")
            assert not (tmp_path / "one").exists()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(tmp_path.iterdir()) == []
    assert damage(make(tmp_path / "one")) is None


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[100] ^= 4
    file.write_bytes(content)


HARMS = {
    "a flipped bit": (flip, "weights has another checksum"),
    "cut off": (lambda file: os.truncate(file, 150), "weights has 150 bytes, expected 200"),
    "too long": (lambda file: os.truncate(file, 300), "weights has 300 bytes, expected 200"),
    "empty": (lambda file: os.truncate(file, 0), "weights has 0 bytes"),
    "deleted": (os.unlink, "weights is missing"),
    "all deleted": (lambda file: shutil.rmtree(file.parents[1]), "checksums.json is missing"),
    "no checksums": (lambda file: write(file, ""), "checksums.json: "),
    "other checksums": (lambda file: write(file, '{"empty": [0, "00"]}'), "empty has another"),
    "a list": (lambda file: write(file, "[1]"), "checksums.json: "),
    "a number": (lambda file: write(file, '{"empty": 3}'), "checksums.json: "),
}


def write(file: Path, checksums: str) -> None:
    (file.parents[1] / "checksums.json").write_text(checksums)


@pytest.mark.parametrize("harm", HARMS)
def test_damage_is_seen(harm: str, tmp_path: Path) -> None:
    folder = make(tmp_path / "one")
    do, message = HARMS[harm]
    do(folder / "inner" / "weights")
    assert message in (damage(folder) or "nothing")


def test_a_file_with_another_checksum_is_made_again(tmp_path: Path) -> None:
    file = tmp_path / "file"
    drop_unless_sealed(file)
    file.write_bytes(bytes(200))
    seal(file)
    drop_unless_sealed(file)
    assert file.exists()
    flip(file)
    drop_unless_sealed(file)
    assert list(tmp_path.iterdir()) == []
    file.write_bytes(b"killed before it was sealed")
    drop_unless_sealed(file)
    assert not file.exists()


@pytest.mark.skipif(os.name != "posix", reason="there are no such modes")
@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_weights_may_be_read_as_any_new_file(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        make_language_model().save_pretrained(tmp_path)
        let_others_read(tmp_path)
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == dict.fromkeys(
        ("config.json", "generation_config.json", "model.safetensors"), 0o666 & ~umask
    )


def test_a_lock_has_one_holder(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    first, second = (os.open(tmp_path, os.O_RDONLY) for _ in range(2))
    assert lock(first)
    assert not lock(second)
    os.close(first)
    assert lock(second)
    os.close(second)
