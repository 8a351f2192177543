"""What a model is made of where there is a choice, and which choices go together."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from layalign.errors import ConfigError

AdapterKind = Literal["mlp", "linear", "none"]
AlignerKind = Literal["linear", "mlp", "none"]
GateKind = Literal["scalar", "head", "hidden"]

MEAN = "mean"
_KINDS: dict[str, tuple[str, ...]] = {
    "adapter": get_args(AdapterKind),
    "aligner": get_args(AlignerKind),
    "gate": get_args(GateKind),
}
# Fields that say nothing without an aligner, and their defaults.
_OF_THE_ALIGNER: dict[str, Any] = {
    **{"encoder_layers": None, "language_layers": None, "aligner_width": None},
    **{"encoder_mean": False, "gate": "scalar"},
}
_WORDS = "last, mean, first:K, middle:K, last:K or a list of indices"


@dataclass(frozen=True, kw_only=True)
class LoraSettings:
    """A LoRA on the language model that is trained together with everything else.

    Its scale is fixed: ``alpha = 2 * rank``.

    Source: Hu et al. (arXiv 2106.09685); with ``dora`` Liu et al. (arXiv 2402.09353).
    """

    rank: int = 8
    """Of every layer's change."""

    dora: bool = False
    """Also train the length of every output's weight vector apart from its direction (DoRA)."""

    targets: tuple[str, ...] | None = None
    """Names of linear layers, such as ``[q_proj, k_proj, v_proj]``; None for all but the output
    head."""

    def __post_init__(self) -> None:
        """Check the rank and that there is something to change."""
        if self.rank < 1:
            raise ConfigError(f"rank is {self.rank}; expected at least 1")
        if self.targets is not None and not self.targets:
            raise ConfigError("targets is empty; name linear layers, or leave it out for all")


def check_kinds(**kinds: str) -> None:
    """See that ``adapter``, ``aligner`` and ``gate`` are known and can go together.

    Raises:
        ConfigError: They do not.
    """
    for name, value in kinds.items():
        if value not in _KINDS[name]:
            raise ConfigError(f"{name} is {value!r}; expected one of {', '.join(_KINDS[name])}")
    if kinds["adapter"] == kinds["aligner"] == "none":
        raise ConfigError(
            "adapter and aligner are both none, so nothing would reach the language model; "
            "choose one of the two"
        )


def check_adapter_width(adapter: str, width: int | None) -> None:
    """See that only an adapter with a hidden layer is given a width of it.

    Raises:
        ConfigError: Another is.
    """
    if adapter != "mlp" and width is not None:
        raise ConfigError(
            f"adapter_width is {width}, but the adapter {adapter} has no hidden layer; leave it "
            "out, or choose the adapter mlp"
        )


def check_without_aligner(settings: Mapping[str, Any]) -> None:
    """See that settings that only an aligner has are left out where there is none.

    Args:
        settings: By name; others are not looked at.

    Raises:
        ConfigError: One of them is given.
    """
    for name, nothing in _OF_THE_ALIGNER.items():
        if name in settings and settings[name] not in (nothing, []):
            raise ConfigError(
                f"{name} is {settings[name]!r}, but without an aligner no layers are joined; "
                "leave it out, or choose another aligner"
            )


def check_width(name: str, width: int | None) -> None:
    """See that a width is one.

    Raises:
        ConfigError: It is not.
    """
    if width is not None and width < 1:
        raise ConfigError(f"{name} is {width}; expected at least 1")


def check_ratio(name: str, ratio: float | None) -> None:
    """See that a ratio is a number above 0.

    Raises:
        ConfigError: It is not.
    """
    if ratio is not None and not 0 < ratio < math.inf:
        raise ConfigError(f"{name} is {ratio}; expected more than 0")


def check_layer_words(layers: str | Sequence[int] | None) -> None:
    """See that a choice of encoder layers, where it is given in words, can be understood.

    Raises:
        ConfigError: It cannot.
    """
    if isinstance(layers, str):
        _parse(layers)


def encoder_layers(words: str, count: int) -> list[int]:
    """The encoder states that words stand for.

    Words choose among the states that the aligner reads by default, ``0 … count - 1``: the
    embedding output and what every block but the last one gives. So three times a third of them are
    all of them, and ``last`` is ``last:1``. The state ``count``, which the adapter reads, is chosen
    by its number.

    Args:
        words: ``last``, ``mean``, ``first:K``, ``middle:K`` or ``last:K``; ``mean`` reads all.
        count: Number of encoder blocks.

    Raises:
        ConfigError: There is no such choice, or not that many states.
    """
    which, size = _parse(words)
    size = count if which == MEAN else size
    if not 1 <= size <= count:
        raise ConfigError(f"encoder_layers is {words!r}; expected K from 1 to {count}")
    start = {"first": 0, MEAN: 0, "middle": (count - size) // 2, "last": count - size}[which]
    return list(range(start, start + size))


def _parse(words: str) -> tuple[str, int]:
    if words in (MEAN, "last"):
        return words, 1
    found = re.fullmatch(r"(first|middle|last):(\d+)", words)
    if found is None:
        raise ConfigError(f"encoder_layers is {words!r}; expected {_WORDS}")
    return found[1], int(found[2])


def check_layers(name: str, layers: Sequence[Any], count: int) -> None:
    """See that a list of layers names different ones that there are.

    Raises:
        ConfigError: It does not.
    """
    if not layers:
        raise ConfigError(f"{name} is empty; expected at least one index from 0 to {count - 1}")
    wrong = [i for i in layers if not isinstance(i, int) or not 0 <= i < count]
    if wrong or len(set(layers)) != len(layers):
        raise ConfigError(
            f"{name} is {list(layers)}; expected different whole numbers from 0 to {count - 1}"
        )
