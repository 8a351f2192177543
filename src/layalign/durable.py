"""Files and folders that a crash leaves whole or not there at all, and that show damage later.

What is written here stands on the disk, not only in the system's cache, before it gets its name.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

CHECKSUMS_NAME = "checksums.json"
UNFINISHED = ".unfinished-"
_CHUNK = 2**20


def replace_file(path: Path, content: bytes) -> None:
    """Write a file under another name first, so that at any moment the old or the new one is there.

    Raises:
        OSError: It cannot be written; what was there before still is.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        _to_disk(temporary)
        os.replace(temporary, path)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise
    _to_disk(path.parent)


@contextmanager
def rename_when_complete(final: Path) -> Iterator[Path]:
    """Give a folder to write into, which becomes ``final`` if nothing fails.

    Every file's size and checksum are written beside them, for :func:`damage`. If something fails
    nothing is left, unless the process is killed: then a folder stays whose name begins with
    :data:`UNFINISHED`.

    Raises:
        OSError: It cannot be written.
    """
    temporary = final.with_name(f"{UNFINISHED}{final.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        _write_checksums(temporary)
        for path in (*temporary.rglob("*"), temporary):
            _to_disk(path)
        if final.exists():
            shutil.rmtree(final)
        temporary.rename(final)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)  # above all where the disk is full
        raise
    _to_disk(final.parent)


def damage(folder: Path) -> str | None:
    """What is wrong with a folder that :func:`rename_when_complete` has made.

    Returns:
        The first file that is missing or not as it was written, and why; None if all are whole.
    """
    try:
        expected = json.loads((folder / CHECKSUMS_NAME).read_bytes())
        for name, (size, checksum) in expected.items():
            found = (folder / name).stat().st_size
            if found != size:
                return f"{name} has {found} bytes, expected {size}"
            if sha256(folder / name) != checksum:
                return f"{name} has another checksum than when it was written"
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        missing = isinstance(error, FileNotFoundError) and error.filename
        return f"{Path(missing).name} is missing" if missing else f"{CHECKSUMS_NAME}: {error}"
    return None


def seal(path: Path) -> None:
    """Leave a file's checksum beside it, for :func:`drop_unless_sealed`.

    Raises:
        OSError: It cannot be written.
    """
    replace_file(_seal(path), sha256(path).encode())


def drop_unless_sealed(path: Path) -> None:
    """Delete a file that is not as :func:`seal` has found it, so that it is made again."""
    try:
        whole = _seal(path).read_text() == sha256(path)
    except (OSError, UnicodeDecodeError):
        whole = False
    if not whole:
        path.unlink(missing_ok=True)
        _seal(path).unlink(missing_ok=True)


def _seal(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def sha256(path: Path) -> str:
    """Checksum of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def let_others_read(folder: Path) -> None:
    """Give the weights in a folder the mode of any new file; safetensors keeps them to their owner.

    Raises:
        OSError: The folder cannot be written to, or a file belongs to somebody else.
    """
    new = folder / f".mode.{os.getpid()}.tmp"
    new.touch()  # asking for the umask would change it, in all threads
    mode = stat.S_IMODE(new.stat().st_mode)
    new.unlink()
    for path in folder.glob("*.safetensors"):
        if stat.S_IMODE(path.stat().st_mode) != mode:  # else a file system may know no modes
            path.chmod(mode)


def lock(file: IO[Any] | int) -> bool:
    """Take the lock of an open file or folder, for this process and those that inherit it.

    It is given up when the file is closed or the process ends, however that happens.

    Returns:
        Whether nobody else has it, as far as can be told.
    """
    try:
        import fcntl
    except ImportError:  # not on Windows
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def _write_checksums(folder: Path) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    found = {
        path.relative_to(folder).as_posix(): (path.stat().st_size, sha256(path)) for path in files
    }
    (folder / CHECKSUMS_NAME).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _to_disk(path: Path) -> None:
    if os.name != "posix":
        return  # folders cannot be opened there, nor files that are only read be flushed
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
