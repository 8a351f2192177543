"""What a report shows, whatever kind of folder it was read from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from layalign.eval.metrics import Estimate, Mean

if TYPE_CHECKING:
    from layalign.analysis.weights import Weights

Figure = Estimate | Mean


@dataclass(frozen=True, kw_only=True)
class Language:
    """A language that questions were asked in."""

    tag: str
    name: str
    items: int
    trained: bool | None
    """None if not known."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How far a method is from the reference, points."""

    figure: Figure
    p: float | None = None
    p_corrected: float | None = None
    """Corrected for the number of comparisons."""
    verdict: str | None = None
    """In words, such as ``within noise``."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a method takes; None is not known."""

    trained_parameters: float | None
    training_seconds: float | None
    tokens_per_second: float | None
    relative_speed: float | None
    """Of generation, over that of the bare language model."""
    peak_memory_gib: float | None
    translation_seconds: float | None = None
    """Of what it reads in training; None also where nothing is translated."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """What answered, and how well."""

    name: str
    """What it is, which gives it its colour: a method's name, or ``bare_llm``."""
    label: str
    source: str
    """The folder that it was read from, as the user named it."""
    languages: Mapping[str, Figure]
    """By language tag."""
    averages: Mapping[str, Figure]
    """By group of languages."""
    versus: Mapping[str, Difference] | None = None
    """Differences to the reference by group; None for the reference itself."""
    cost: Cost | None = None
    predictions: Path | None = None
    """File of its answers, if they were kept."""
    seed: int | None = None
    """The run that the answers are of, where there were several."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Methods that were asked the same questions."""

    title: str
    asked: str
    """Equal for scores on the same questions."""
    unit: str
    """``%`` or ``chrF``."""
    languages: tuple[Language, ...]
    groups: Mapping[str, tuple[str, ...]]
    """Language tags of every group, in the order in which averages are shown."""
    methods: tuple[Method, ...]
    reference: str
    """What the others are compared with, in words."""
    notes: tuple[str, ...] = ()

    @property
    def is_tested(self) -> bool:
        """Whether anyone has said which differences are within noise."""
        rows = (row for method in self.methods for row in (method.versus or {}).values())
        return any(row.verdict is not None for row in rows)


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The losses of a stage, nats per target token."""

    losses: tuple[float, ...]
    """Of every update."""
    dev: tuple[tuple[int, float], ...]
    """Updates done before, and the loss on the development set."""
    facts: Mapping[str, float] = field(default_factory=dict)
    """Updates, examples, tokens, seconds; as far as they are known."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training run."""

    name: str
    """Its folder, as the user named it."""
    recipe: str
    """The text of its recipe; empty if there is none."""
    facts: Mapping[str, str]
    """Settings that readers ask for first."""
    stages: Mapping[str, Curve]
    weights: Weights | None
    """Gates and mixing; None if the folder holds no LayAlign model."""


@dataclass(frozen=True, kw_only=True)
class Contents:
    """All that was found in one folder."""

    scores: tuple[Scores, ...] = ()
    runs: tuple[Run, ...] = ()
    commands: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
