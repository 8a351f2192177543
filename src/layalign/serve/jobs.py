"""A request on its way through the engine, and what is told of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from layalign.serve.sampling import Chosen, Sampler, Sampling
from layalign.serve.transcript import Transcript

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

    from layalign.eval.systems import Feature

Reason = Literal["stop", "length", "cancelled", "timeout", "error"]
"""Why an answer has ended: by itself, at its longest, or because something happened."""


@dataclass(frozen=True)
class Piece:
    """News of an answer."""

    text: str = ""
    """What has been added to it."""

    chosen: Chosen | None = None
    """The token that has been added; its text may come with a later piece."""

    reason: Reason | None = None
    """Set in the last piece."""

    error: str = ""
    """What has happened, for ``error`` and ``timeout``; never text of a user."""


Listener = Callable[[Piece], None]
"""Told every piece, on the engine's thread; must not block."""


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """What is to be answered."""

    system: str
    """Name of what answers, a key of the engine's systems."""

    feature: Feature
    """Its token ids."""

    length: int
    """Positions that the language model reads."""


class Job:
    """One answer in the making.

    Args:
        prompt: What is to be answered.
        sampling: How, with the longest answer filled in.
        tokenizer: Of the language model.
        ends: Ids that end an answer.
        listener: Told every piece.
        timeout: Seconds from now until the answer is given up.
    """

    def __init__(
        self,
        prompt: Prompt,
        sampling: Sampling,
        *,
        tokenizer: PreTrainedTokenizerBase,
        ends: Collection[int],
        listener: Listener,
        timeout: float,
    ) -> None:
        """Start the clock."""
        self.prompt = prompt
        self.sampling = sampling
        self.reason: Reason | None = None
        self.cancelled = False
        self.submitted = time.monotonic()
        self.first_token: float | None = None
        self.ended: float | None = None
        self.deadline = self.submitted + timeout
        self.transcript = Transcript(tokenizer, sampling.stop)
        self._ends = frozenset(ends)
        self._listener = listener
        self._sampler = Sampler(sampling)

    def cancel(self) -> None:
        """Ask for the job to be dropped; from any thread."""
        self.cancelled = True

    def take(self, logits: Tensor) -> bool:
        """Choose the next token and tell of it; returns whether there is more to come.

        Args:
            logits: ``(vocabulary,)``, float32, on the CPU.
        """
        chosen = self._sampler.choose(logits)
        if self.first_token is None:
            self.first_token = time.monotonic()
        text = self.transcript.add(chosen.token)
        reason = self._reason(chosen.token)
        if reason is not None:
            self._end(reason, Piece(text + self.transcript.finish(), chosen, reason))
        else:
            self._tell(Piece(text, chosen))
        return reason is None

    def last_token(self) -> int:
        """The token that is to be read next."""
        return self.transcript.ids[-1]

    def fail(self, reason: Reason, error: str = "") -> None:
        """End the job without the rest of its answer."""
        self._end(reason, Piece(reason=reason, error=error))

    def _reason(self, token: int) -> Reason | None:
        if token in self._ends or self.transcript.stopped:
            return "stop"
        return "length" if len(self.transcript.ids) >= self.max_new_tokens else None

    @property
    def max_new_tokens(self) -> int:
        """Longest answer, tokens."""
        assert self.sampling.max_new_tokens is not None
        return self.sampling.max_new_tokens

    def _end(self, reason: Reason, piece: Piece) -> None:
        self.reason, self.ended = reason, time.monotonic()
        self._tell(piece)

    def _tell(self, piece: Piece) -> None:
        try:
            self._listener(piece)
        except Exception:  # whoever listened is gone
            self.cancelled = True
