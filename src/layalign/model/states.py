"""Read the tensors of a state file by name, one at a time: safetensors or torch, also in shards."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from layalign.errors import CheckpointError

State = dict[str, Callable[[], Tensor]]
"""How to read each tensor."""

SAFETENSORS = ".safetensors"
SUFFIXES = (SAFETENSORS, ".bin", ".pt")
INDEX_SUFFIX = ".index.json"
_NAMES = tuple(
    f"{name}{suffix}{index}"
    for name in ("model", "pytorch_model")
    for suffix in SUFFIXES
    for index in (INDEX_SUFFIX, "")
)


def open_state(path: str | os.PathLike[str]) -> State:
    """Find the tensors of a state file; they are read when asked for.

    Args:
        path: A ``.safetensors``, ``.bin`` or ``.pt`` file, the ``.index.json`` of a sharded one,
            or a folder that holds one of them under the usual name. Nothing in it is executed.

    Raises:
        CheckpointError: There is no such file, it is damaged or holds anything but tensors.
    """
    file = _find(Path(path))
    if file.name.endswith(INDEX_SUFFIX):
        return _open_shards(file)
    return _open_file(file)


def _find(path: Path) -> Path:
    if path.is_dir():
        found = [path / name for name in _NAMES if (path / name).is_file()]
        if len(found) != 1:
            names = ", ".join(file.name for file in found) or "none"
            raise CheckpointError(
                f"{path} should hold one state file, found {names}; name the file itself"
            )
        return found[0]
    if not path.is_file():
        raise CheckpointError(f"no state file {str(path)!r}; check the path")
    if not path.name.endswith((*SUFFIXES, INDEX_SUFFIX)):
        raise CheckpointError(
            f"{path} is no state file by its name; expected one that ends in "
            f"{', '.join((*SUFFIXES, INDEX_SUFFIX))}"
        )
    return path


def read_index(index: Path) -> dict[str, str]:
    """Read which shard every tensor is in.

    Raises:
        CheckpointError: The file is no such index, or names files that are not beside it.
    """
    try:
        content = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        places = {name: str(shard) for name, shard in content.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            f"{index} is no index of shards; expected JSON with a weight_map from tensors to files"
        ) from error
    if outside := [name for name in places.values() if Path(name).name != name]:
        raise CheckpointError(f"{index} names {outside[0]!r}; expected a file beside it")
    return places


def _open_shards(index: Path) -> State:
    places = read_index(index)
    shards = sorted(set(places.values()))
    if missing := [name for name in shards if not (index.parent / name).is_file()]:
        raise CheckpointError(f"{index} names {missing[0]!r}, which is not there; copy all shards")
    opened = {name: _open_file(index.parent / name) for name in shards}
    if absent := [name for name, shard in places.items() if name not in opened[shard]]:
        raise CheckpointError(
            f"{index} places {absent[0]!r} in {places[absent[0]]}, which does not hold it; copy "
            "all shards again"
        )
    return {name: opened[shard][name] for name, shard in places.items()}


def _open_file(path: Path) -> State:
    return _open_safetensors(path) if path.suffix == SAFETENSORS else _open_torch(path)


def _open_safetensors(path: Path) -> State:
    try:
        file: Any = safe_open(path, framework="pt")  # open as long as the state is in use
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is damaged or cut off ({error}); copy it again") from error
    return {name: partial(file.get_tensor, name) for name in file.keys()}  # noqa: SIM118


def _open_torch(path: Path) -> State:
    try:
        # Mapped, so that only what is used is read; files of the oldest kind cannot be.
        values: Any = torch.load(
            path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
        )
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds more than tensors, which could run code and is not loaded; expected a "
            "state dict written by torch.save"
        ) from error
    except Exception as error:  # a damaged file raises anything, KeyError and EOFError included
        raise CheckpointError(
            f"{path} is damaged or cut off ({type(error).__name__}: {error}); copy it again"
        ) from error
    if not isinstance(values, dict) or not all(isinstance(v, Tensor) for v in values.values()):
        raise CheckpointError(
            f"{path} holds something else than tensors by name; expected a state dict, not nested "
            "in anything"
        )
    return {str(name): partial(torch.Tensor.detach, value) for name, value in values.items()}
