"""What can happen to a folder: each function returns what does it to one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

Prepare = Callable[[Path], object]


def written(name: str, content: str | bytes) -> Prepare:
    """Put something else in the place of a file."""
    content = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / name).write_bytes(content)


def edited(name: str, **values: Any) -> Prepare:
    """Change values of a JSON file."""

    def prepare(folder: Path) -> None:
        file = folder / name
        file.write_text(json.dumps({**json.loads(file.read_text("utf-8")), **values}))

    return prepare


def inside(name: str, key: str, **values: Any) -> Prepare:
    """Change values of an object inside a JSON file."""
    return lambda folder: edited(
        name, **{key: {**json.loads((folder / name).read_text("utf-8"))[key], **values}}
    )(folder)


def removed(name: str) -> Prepare:
    """Take a file or folder away."""

    def prepare(folder: Path) -> None:
        place = folder / name
        shutil.rmtree(place) if place.is_dir() else place.unlink()

    return prepare


def reweighed(name: str, change: Callable[[dict[str, Tensor]], Mapping[str, Any]]) -> Prepare:
    """Change the tensors of a file."""
    return lambda folder: save_file(
        {**change(load_file(folder / name))}, folder / name, metadata={"format": "pt"}
    )


def halved(name: str) -> Prepare:
    """Cut a file."""

    def prepare(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])

    return prepare
