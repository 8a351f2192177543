"""How far a run has come and what that means for the learning rate. Pure arithmetic, no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

Schedule = Literal["cosine", "linear", "constant"]
SCHEDULES: tuple[str, ...] = ("cosine", "linear", "constant")


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What a run has used up so far."""

    updates: int = 0
    """Optimizer updates."""

    examples: int = 0
    """Training examples read."""

    tokens: int = 0
    """Encoder and language-model tokens read, without padding."""

    seconds: float = 0.0
    """Wall-clock seconds, over all sessions of a resumed run."""

    flops: float = 0.0
    """Floating-point operations, as :mod:`layalign.train.operations` estimates them."""

    def ahead(self, updates: float) -> Usage:
        """Extrapolate tokens, seconds and operations by a (fractional) number of updates."""
        if not self.updates:
            return self
        factor = (self.updates + updates) / self.updates
        return replace(
            self,
            tokens=round(self.tokens * factor),
            seconds=self.seconds * factor,
            flops=self.flops * factor,
        )


@dataclass(frozen=True, kw_only=True)
class Limits:
    """When a run ends: at whichever limit comes first; None is no limit."""

    updates: int | None = None
    """Optimizer updates."""

    examples: int | None = None
    """Training examples in those updates; the last one may be smaller than the others."""

    tokens: int | None = None
    """Encoder and language-model tokens, without padding."""

    seconds: float | None = None
    """Wall-clock seconds."""

    flops: float | None = None
    """Floating-point operations."""

    def progress(self, usage: Usage) -> float:
        """Largest used fraction of any limit, from 0 to 1; 0 without limits."""
        fractions = [
            getattr(usage, name) / limit
            for name in ("updates", "tokens", "seconds", "flops")
            if (limit := getattr(self, name)) is not None
        ]
        return min(max(fractions, default=0.0), 1.0)

    def reached(self, usage: Usage) -> bool:
        """Whether the run is over."""
        return self.progress(usage) >= 1.0

    def progress_amid_update(self, usage: Usage) -> float:
        """Progress in the middle of the next update.

        A schedule read there is neither zero at the first update (warm-up) nor at the last one
        (decay), so no update is wasted.
        """
        counted = replace(self, updates=None).progress(usage.ahead(0.5))
        if self.updates is None:
            return counted
        return min(max(counted, (usage.updates + 0.5) / self.updates), 1.0)


def make_limits(
    *,
    n_examples: int,
    batch_size: int,
    epochs: float | None,
    max_updates: int | None,
    max_examples: int | None,
    max_tokens: int | None,
    max_minutes: float | None,
    max_flops: float | None,
) -> Limits:
    """Bring all limits into one form; those on epochs, examples and updates become one.

    Args:
        n_examples: Size of the training set.
        batch_size: Examples per update. Updates run on over the end of an epoch, so that all but
            the last are full.
        epochs: Passes over the training set; may be a fraction.
        max_updates: Optimizer updates.
        max_examples: Examples, counted again when they are read again.
        max_tokens: Tokens.
        max_minutes: Minutes.
        max_flops: Floating-point operations.
    """
    counts = [
        None if epochs is None else math.ceil(epochs * n_examples),
        None if max_updates is None else max_updates * batch_size,
        max_examples,
    ]
    examples = min((count for count in counts if count is not None), default=None)
    return Limits(
        updates=None if examples is None else math.ceil(examples / batch_size),
        examples=examples,
        tokens=max_tokens,
        seconds=None if max_minutes is None else 60.0 * max_minutes,
        flops=max_flops,
    )


def rate_factor(progress: float, *, schedule: Schedule, warmup: float) -> float:
    """Share of the peak learning rate at some progress.

    Args:
        progress: From 0 to 1.
        schedule: How the rate falls after the warm-up: half a cosine, a line, or not at all.
        warmup: Share of the run over which the rate rises linearly from 0.

    Returns:
        From 0 to 1.
    """
    if progress < warmup:
        return progress / warmup
    if schedule == "constant":
        return 1.0
    rest = (progress - warmup) / (1.0 - warmup) if warmup < 1.0 else 1.0
    if schedule == "linear":
        return 1.0 - rest
    return 0.5 * (1.0 + math.cos(math.pi * rest))
