"""This machine's processor as a device to plan with."""

from __future__ import annotations

import os
from dataclasses import replace

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
        memory=float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")),
        flops=half.flops,
        flops_float32=full.flops,
        bandwidth=moved,
        interconnect=full.bytes,
        source="measured",
    )
