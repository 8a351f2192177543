"""Accelerators by name, with the figures of their makers' data sheets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from layalign.errors import ConfigError, nearest


@dataclass(frozen=True, kw_only=True)
class Device:
    """One device of a run."""

    name: str

    memory: float
    """Bytes; a gigabyte of the data sheet counts as 10^9."""

    flops: float
    """Operations a second of dense matrix products in bfloat16."""

    flops_float32: float
    """The same in float32, on a GPU with TF32 allowed."""

    bandwidth: float
    """Bytes a second between its memory and its cores."""

    interconnect: float
    """Bytes a second from it to its neighbours, in one direction."""

    source: str = ""
    """Where the figures are from."""

    def peak(self, size: int) -> float:
        """Operations a second with numbers of so many bytes."""
        return self.flops if size < 4 else self.flops_float32


def _device(
    name: str, gigabytes: float, teraflops: float, bandwidth: float, link: float, source: str
) -> Device:
    """Read a data sheet's units: GB, TFLOP/s, GB/s, and GB/s in both directions together."""
    return Device(
        name=name,
        memory=gigabytes * 1e9,
        flops=teraflops * 1e12,
        flops_float32=teraflops / 2 * 1e12,
        bandwidth=bandwidth * 1e9,
        interconnect=link / 2 * 1e9,
        source=f"NVIDIA {source} data sheet",
    )


# Products are those without sparsity; TF32 has half of them on all of these sheets. A link of 64 is
# PCIe 4 x16, the others are NVLink.
DEVICES: Mapping[str, Device] = MappingProxyType(
    {
        device.name: device
        for device in (
            _device("l4-24gb", 24, 121, 300, 64, "L4"),
            _device("a10-24gb", 24, 125, 600, 64, "A10"),
            _device("a10g-24gb", 24, 70, 600, 64, "A10G"),
            _device("a40-48gb", 48, 149.7, 696, 64, "A40"),
            _device("l40-48gb", 48, 181.05, 864, 64, "L40"),
            _device("l40s-48gb", 48, 362.05, 864, 64, "L40S"),
            _device("a100-40gb", 40, 312, 1555, 600, "A100 (SXM)"),
            _device("a100-80gb", 80, 312, 2039, 600, "A100 (SXM)"),
            _device("h100-80gb", 80, 989.5, 3350, 900, "H100 (SXM)"),
            _device("h200-141gb", 141, 989.5, 4800, 900, "H200 (SXM)"),
        )
    }
)
"""By name."""


def find_device(name: str) -> Device:
    """Look a device up.

    Raises:
        ConfigError: It is not known; the known ones are listed.
    """
    if name.lower() not in DEVICES:
        known = ", ".join(DEVICES)
        raise ConfigError(f"unknown GPU {name!r}; known are {known}{nearest(name, DEVICES)}")
    return DEVICES[name.lower()]
