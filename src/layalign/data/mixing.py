"""How much of each language is trained on, where languages have unequal amounts of data."""

import random
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from layalign.data.example import Example
from layalign.data.tables import indices_by_language, select
from layalign.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Mixing:
    """Temperature sampling over languages.

    A language with ``n`` examples gets a share in proportion to ``n ** (1 / temperature)``.

    Source: Arivazhagan et al., "Massively Multilingual Neural Machine Translation in the Wild"
    (arXiv 1907.05019).

    Raises:
        ConfigError: A number is out of range.
    """

    temperature: float = 1.0
    """1 keeps the proportions of the data; the higher, the more equal the languages."""

    total: int | None = None
    """Examples of the mixture; None for as many as there are."""

    seed: int = 0
    """Of the choice."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        if not 1 <= self.temperature < float("inf"):
            raise ConfigError(
                f"temperature is {self.temperature}; expected 1 (the data's proportions) or more"
            )
        if self.total is not None and self.total < 1:
            raise ConfigError(f"total is {self.total}; expected at least 1")


def mix(examples: Sequence[Example], mixing: Mixing) -> Sequence[Example]:
    """Choose the examples of a mixture.

    A language's share above what it has is filled with whole repetitions and a random rest; a
    share below that is a random part. The choice depends on the arguments alone, and that in a
    language on its own examples, the size of its share and the seed alone.

    Args:
        examples: In any order.
        mixing: How.

    Returns:
        One language after the other, as they first appear, each in its own order; in memory or on
        disk as the examples are.
    """
    languages = indices_by_language(examples)
    sizes = {language: len(found) for language, found in languages.items()}
    mixed = array("q")
    for language, share in shares(sizes, mixing).items():
        found = languages[language]
        repetitions, rest = divmod(share, len(found))
        chosen = random.Random(f"mix {mixing.seed} {language}").sample(range(len(found)), rest)
        mixed += found * repetitions
        mixed.extend(found[index] for index in sorted(chosen))
    return select(examples, mixed)


def shares(sizes: dict[str, int], mixing: Mixing) -> dict[str, int]:
    """How many examples each language gets; together exactly as many as wanted.

    Shares are rounded down, and what is missing goes to the largest remainders.

    Args:
        sizes: Examples of each language.
        mixing: How.
    """
    total = sum(sizes.values()) if mixing.total is None else mixing.total
    # Relative to the largest, so that no power overflows.
    largest = max(sizes.values(), default=1)
    weights = {name: (size / largest) ** (1 / mixing.temperature) for name, size in sizes.items()}
    exact = {name: total * weight / sum(weights.values()) for name, weight in weights.items()}
    found = {name: int(value) for name, value in exact.items()}
    by_remainder = sorted(exact, key=lambda name: (found[name] - exact[name], name))
    for name in by_remainder[: total - sum(found.values())]:
        found[name] += 1
    return found
