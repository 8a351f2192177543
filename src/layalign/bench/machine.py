"""The machine: what it is, and what it can do at most."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import platform
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from layalign.bench.setup import Setup
from layalign.bench.timing import LAYALIGN, Run, seconds_of, time_runs
from layalign.eval.provenance import versions

_SECONDS = 0.5  # that each measurement may take
_CPU_SIZES = (1024, 2**25)
_GPU_SIZES = (8192, 2**29)


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A device with the best that was seen of it in one arithmetic type."""

    device: str
    """As torch names it."""

    flops: float
    """Operations a second of a product of two square matrices."""

    bytes: float
    """Bytes a second that are read when a tensor is copied; as many are written."""

    @classmethod
    def measure(cls, setup: Setup) -> Machine:
        """Find out on the device and in the type of a setup; it takes about a second."""
        device = setup.device
        size, count = _CPU_SIZES if torch.device(device).type == "cpu" else _GPU_SIZES
        numbers = torch.linspace(-1, 1, size * size, device=device).to(setup.torch_dtype)
        left = numbers.view(size, size)
        right, product = left.flip(0), torch.empty_like(left)
        source = torch.zeros(count, device=device)
        target = torch.ones_like(source)
        return cls(
            device=device,
            flops=2 * size**3 / _fastest(lambda: torch.mm(left, right, out=product), device),
            bytes=source.nbytes / _fastest(lambda: target.copy_(source), device),
        )

    def row(
        self, runs: Mapping[str, Run], *, repeats: int, tokens: int, weight_bytes: int
    ) -> dict[str, Any]:
        """Time several ways of doing the same, and see what ours reached of the machine.

        Args:
            runs: See :func:`time_runs`.
            repeats: Timed rounds.
            tokens: That a run works on.
            weight_bytes: Weights that a run has to read, however often it does.

        Returns:
            The figures of :class:`Timed`, and of ours ``tokens_per_second``, ``peak_gib``,
            ``work_gib``, ``tflops_per_second``, and ``matmul_share`` and ``copy_share``, where 1
            is all that the machine can do.
        """
        timed = time_runs(runs, device=self.device, repeats=repeats)
        seconds = timed.median(LAYALIGN)
        return {
            **timed.figures(),
            "tokens_per_second": tokens / seconds,
            "peak_gib": timed.peak_gib,
            "work_gib": timed.work_gib,
            "tflops_per_second": timed.flops / seconds / 1e12,
            "matmul_share": timed.flops / seconds / self.flops,
            "copy_share": weight_bytes / seconds / self.bytes,
        }

    def result(self, setup: Setup, rows: list[dict[str, Any]], **work: Any) -> dict[str, Any]:
        """Rows with all that is needed to repeat them, as plain values.

        Args:
            setup: What was measured.
            rows: What was found.
            **work: What it was given.
        """
        return {
            "setup": dataclasses.asdict(setup),
            **work,
            "machine": self.describe(),
            "rows": rows,
        }

    def describe(self) -> dict[str, Any]:
        """Plain values: what it is, its two ceilings, and versions of what ran on it."""
        return {
            "device": self._name(),
            "threads": torch.get_num_threads(),
            "matmul_tflops_per_second": self.flops / 1e12,
            "copy_gb_per_second": self.bytes / 1e9,
            "versions": versions(),
        }

    def _name(self) -> str:
        if torch.device(self.device).type == "cuda":
            return torch.cuda.get_device_name(self.device)
        with contextlib.suppress(OSError):  # Linux only
            if found := re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text()):
                return found[1]
        return platform.processor() or platform.machine()


def _fastest(run: Run, device: str) -> float:
    """Seconds of the fastest of several runs."""
    run()
    best, end = math.inf, time.perf_counter() + _SECONDS
    while time.perf_counter() < end:
        best = min(best, seconds_of(run, device))
    return best


def read_bytes(module: nn.Module) -> int:
    """Bytes of the weights that one forward pass reads: all but tables that are looked up in."""
    head = getattr(module, "get_output_embeddings", lambda: None)()
    tables = {id(m.weight) for m in module.modules() if isinstance(m, nn.Embedding)}
    tables -= {id(getattr(head, "weight", None))}
    return sum(p.nbytes for p in module.parameters() if id(p) not in tables)
