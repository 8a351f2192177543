"""Long use leaves memory, objects and file handles as they are."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
import torch

from factories import make_model, make_processor
from layalign.data import Example
from layalign.eval import evaluate
from layalign.eval.loading import load_systems
from layalign.eval.systems import LayAlignSystem

MEBIBYTE = 1 << 20

pytestmark = [
    pytest.mark.slow,
    pytest.mark.deep,
    pytest.mark.skipif(not psutil.POSIX, reason="counts file handles as POSIX systems do"),
]


class Held(NamedTuple):
    """What a process holds."""

    memory: int
    objects: int
    files: int


def held() -> Held:
    gc.collect()
    process = psutil.Process()
    return Held(process.memory_info().rss, len(gc.get_objects()), process.num_fds())


def check_steady(work: Callable[[], object], times: int) -> None:
    """Do something often; after the first tenth nothing may be added that stays."""
    gc.freeze()  # what is there already, so that looking for garbage is quick
    for _ in range(times // 10):
        work()
    before = held()
    for _ in range(times - times // 10):
        work()
    after = held()
    gc.unfreeze()
    assert after.memory - before.memory < 8 * MEBIBYTE
    assert after.objects - before.objects < 100
    assert after.files <= before.files


def test_generate() -> None:
    model, processor = make_model(), make_processor()
    batch = processor(["ana mayai ngapi", "nne"], question="nne")

    @torch.no_grad()
    def work() -> None:
        model.generate(**batch, max_new_tokens=2, do_sample=False)

    check_steady(work, 2000)


def test_evaluation(tmp_path: Path) -> None:
    system = LayAlignSystem(make_model(), make_processor(), max_new_tokens=2)
    examples = [Example(text="ana mayai nne", language="sw", answer=str(n)) for n in range(20)]
    check_steady(lambda: evaluate(system, examples, batch_size=4), 40)  # of 5 batches each


def test_loading(tiny_checkpoint: Path) -> None:
    check_steady(lambda: load_systems(tiny_checkpoint), 20)
