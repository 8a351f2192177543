"""This machine's processor as a device to plan with."""

from __future__ import annotations

from dataclasses import replace

import psutil

from layalign.bench.machine import Machine
from layalign.bench.setup import Setup
from layalign.planning.devices import Device


def measured_cpu() -> Device:
    """Measure what the processor can do at most; it takes some seconds."""
    setup = Setup(encoder="", llm="", device="cpu")
    full = Machine.measure(setup)
    half = Machine.measure(replace(setup, dtype="bfloat16"))
    moved = 2 * full.bytes  # what is copied is read and written
    return Device(
        name="cpu",
        memory=float(psutil.virtual_memory().total),
        flops=half.flops,
        flops_float32=full.flops,
        bandwidth=moved,
        interconnect=full.bytes,
        source="measured",
    )
