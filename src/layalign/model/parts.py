"""Which part of a composite model a parameter belongs to, by its name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from torch import Tensor

GATES = "gates"
LORA = "lora"
PARTS = ("adapter", "aligner", GATES, LORA, "encoder", "language_model")
_FROZEN = ("encoder", "language_model")


def part_of(name: str) -> str:
    """The part, one of :data:`PARTS`, of a parameter of :class:`LayAlignModel`."""
    if ".lora_" in name:  # inside the language model, but no part of its own weights
        return LORA
    first = name.split(".")[0]
    return GATES if first == "gate_map" else first


def is_trained(name: str) -> bool:
    """Whether a parameter is trained and saved, and not of a frozen backbone."""
    return part_of(name) not in _FROZEN


def count_by_part(parameters: Iterable[tuple[str, Tensor]]) -> dict[str, int]:
    """Numbers of parameters of the parts that there are, in the order of :data:`PARTS`."""
    counts: Counter[str] = Counter()
    for name, parameter in parameters:
        counts[part_of(name)] += parameter.numel()
    return {part: counts[part] for part in PARTS if part in counts}
