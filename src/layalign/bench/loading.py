"""Time and memory of loading: a checkpoint or two backbones, and the language model alone."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from layalign.bench.machine import Machine
from layalign.bench.memory import enough_memory, memory_figures
from layalign.bench.setup import Progress, Setup, silent
from layalign.bench.timing import BARE, LAYALIGN, Run, check_repeats, time_runs
from layalign.model import LayAlignModel
from layalign.model.checkpoint import LANGUAGE_MODEL_FOLDER, backbone_places, find_folder


@enough_memory()
def bench_loading(
    setup: Setup,
    *,
    checkpoint: str | None = None,
    repeats: int = 5,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Load in turn; after the first time the files are in the system's cache.

    Args:
        setup: The backbones; random ones are written into a temporary folder first.
        checkpoint: Folder, hub id or shipped checkpoint on these backbones; None to join the
            backbones with new parts, random ones with a checkpoint of theirs.
        repeats: Timed loads.
        progress: Told what is measured next.

    Returns:
        ``setup``, ``checkpoint``, ``repeats``, ``machine`` and one of ``rows``: ratio and seconds
        as in :func:`bench_generation`, ``weights_gib``, and memory as in :func:`bench_training`.

    Raises:
        LayAlignError: Something cannot be loaded, there are too few rounds, or too little memory.
    """
    check_repeats(repeats)
    with _on_disk(setup, checkpoint) as place:
        progress("load")
        memory = memory_figures(_load, _load_bare, *place)
        runs: dict[str, Run] = {LAYALIGN: lambda: _load(*place), BARE: lambda: _load_bare(*place)}
        timed = time_runs(runs, device=setup.device, repeats=repeats)
        weights = sum(p.nbytes for p in _load(*place).parameters())
    row = {**timed.figures(), "weights_gib": weights / 2**30, **memory}
    work = {"checkpoint": checkpoint, "repeats": repeats}
    return Machine.measure(setup).result(setup, [row], **work)


def checkpoint_setup(checkpoint: str, **fields: Any) -> Setup:
    """The backbones of a checkpoint, where they are.

    Args:
        checkpoint: Folder, hub id or shipped checkpoint.
        **fields: Of :class:`Setup`.

    Raises:
        CheckpointError: There is no such checkpoint.
    """
    encoder, language_model = backbone_places(find_folder(checkpoint))
    return Setup(encoder=encoder, llm=language_model, **fields)


@contextmanager
def _on_disk(setup: Setup, checkpoint: str | None) -> Iterator[tuple[Setup, str | None]]:
    if not setup.random_weights:
        yield setup, checkpoint
        return
    with tempfile.TemporaryDirectory() as folder:
        setup.model().save_pretrained(folder, include_backbones=True)
        language_model = str(Path(folder) / LANGUAGE_MODEL_FOLDER)
        yield replace(setup, random_weights=False, llm=language_model), folder


def _load(setup: Setup, checkpoint: str | None) -> LayAlignModel:
    if checkpoint is None:
        return setup.model()
    return LayAlignModel.from_pretrained(
        checkpoint, dtype=setup.torch_dtype, device_map=torch.device(setup.device)
    )


def _load_bare(setup: Setup, _: str | None) -> None:
    setup.language_model()
