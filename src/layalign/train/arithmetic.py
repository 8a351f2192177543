"""Which arithmetic is fastest on this machine, found by a short measurement."""

from __future__ import annotations

import json
import time
from pathlib import Path

import torch
from torch.nn import functional as F

from layalign.durable import replace_file

_NAME = "arithmetic.json"
_ROUNDS = 20


def fastest_arithmetic(device: str) -> tuple[str, str | None]:
    """Choose the backbones' type and attention.

    On a GPU bfloat16 always pays. On a CPU it depends on the instruction set: some multiply
    bfloat16 matrices at twice the speed of float32, others at a fraction of it. Where it does pay,
    eager attention goes with it, because the CPU kernels behind ``sdpa`` are several times slower
    in bfloat16 at the lengths of a question.

    Args:
        device: ``"cuda"`` or ``"cpu"``.

    Returns:
        ``"bfloat16"`` or ``"float32"``, and the attention implementation (None for the default).
    """
    if device != "cpu":
        return "bfloat16", None
    half, full = _best_seconds(torch.bfloat16, torch.float32)
    return ("bfloat16", "eager") if half < full / 1.2 else ("float32", None)


def settled_arithmetic(folder: Path, device: str) -> tuple[str, str | None]:
    """The fastest arithmetic as a run has found it when it began, else as the main process does.

    Args:
        folder: Of the run.
        device: See :func:`fastest_arithmetic`, whose results these are.
    """
    try:
        dtype, attention = json.loads((folder / _NAME).read_text(encoding="utf-8"))
        return dtype, attention
    except (OSError, ValueError, TypeError):
        return fastest_arithmetic(device)


def settle_arithmetic(folder: Path, found: tuple[str, str | None]) -> None:
    """Leave it in the folder of a run, which is not to calculate in another way when it goes on.

    Raises:
        OSError: It cannot be written.
    """
    replace_file(folder / _NAME, json.dumps(found).encode())


def _best_seconds(*dtypes: torch.dtype) -> list[float]:
    """Best time of a product of the size that a small language model spends its time in.

    The types take turns: whatever else the machine does for a moment then meets all of them.
    """
    factors = [
        (torch.ones(512, 576, dtype=dtype), torch.ones(1536, 576, dtype=dtype)) for dtype in dtypes
    ]
    best = [float("inf")] * len(dtypes)
    for _ in range(_ROUNDS):
        for i, (x, weight) in enumerate(factors):
            start = time.perf_counter()
            F.linear(x, weight)
            best[i] = min(best[i], time.perf_counter() - start)
    return best
