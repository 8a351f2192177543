"""How the next token of one request is chosen."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import LongTensor, Tensor
from transformers import (
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)

from layalign.errors import ConfigError, ServeError

MOST_LIKELY_LOGPROBS = 20
_SEEDS = 2**63
_COLDEST = 1e-4  # below, logits divided by the temperature are no longer finite


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Settings of one request; the defaults are greedy decoding.

    Raises:
        ConfigError: A value is out of its range.
    """

    max_new_tokens: int | None = None
    """Longest answer, tokens; None for as long as the server lets it be."""

    temperature: float = 0.0
    """0 for the likeliest token, else what the logits are divided by."""

    top_p: float = 1.0
    """Sample among the likeliest tokens that have this much probability together."""

    seed: int | None = None
    """Of this request alone; None for a new one."""

    stop: tuple[str, ...] = ()
    """The answer ends before any of these."""

    logprobs: int | None = None
    """How many likeliest tokens are told beside each chosen one; None for no log-probabilities."""

    repetition_penalty: float | None = None
    """What the logits of tokens that the answer has are divided by; None for what the language
    model's generation settings say."""

    def __post_init__(self) -> None:
        """Check the values."""
        _check("max_new_tokens", self.max_new_tokens, 1, math.inf)
        _check("temperature", self.temperature, 0, 100)
        _check("top_p", self.top_p, 0, 1)
        _check("seed", self.seed, -_SEEDS, _SEEDS - 1)
        _check("logprobs", self.logprobs, 0, MOST_LIKELY_LOGPROBS)
        _check("repetition_penalty", self.repetition_penalty, 0.01, 100)
        if not all(self.stop):
            raise ConfigError("a stop string is empty; expected at least one character")


def _check(name: str, value: float | None, low: float, high: float) -> None:
    if value is not None and not low <= value <= high:  # NaN is in no range
        limit = f"at least {low}" if high == math.inf else f"{low} to {high}"
        raise ConfigError(f"{name} is {value}; expected {limit}")


def _ids(tokens: list[int]) -> LongTensor:
    return cast(LongTensor, torch.tensor([tokens], dtype=torch.long))


@dataclass(frozen=True)
class Chosen:
    """A token, and how likely it was."""

    token: int

    logprob: float | None = None
    """Natural logarithm; None if it was not asked for."""

    likeliest: tuple[tuple[int, float], ...] = ()
    """Tokens and their log-probabilities, falling."""


class Sampler:
    """Chooses the tokens of one request; what other requests do changes nothing.

    Args:
        sampling: The settings.
    """

    def __init__(self, sampling: Sampling) -> None:
        """Seed the request's own generator."""
        self.sampling = sampling
        self.seen: list[int] = []
        self._generator = torch.Generator()
        if sampling.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(sampling.seed)
        self._processors = LogitsProcessorList()
        if sampling.repetition_penalty not in (None, 1.0):
            self._processors.append(RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty))
        self._is_greedy = sampling.temperature < _COLDEST
        if not self._is_greedy and sampling.temperature != 1:
            self._processors.append(TemperatureLogitsWarper(sampling.temperature))
        if not self._is_greedy and sampling.top_p < 1:
            self._processors.append(TopPLogitsWarper(sampling.top_p))

    def choose(self, logits: Tensor) -> Chosen:
        """Choose the next token.

        Args:
            logits: ``(vocabulary,)``, float32, on the CPU.

        Raises:
            ServeError: The logits are not numbers.
        """
        if logits.max().isnan():
            raise ServeError("the language model's output is not a number")
        scores = self._processors(_ids(self.seen), logits[None].clone())[0]
        if self._is_greedy:
            token = int(scores.argmax())
        else:
            token = int(torch.multinomial(scores.softmax(-1), 1, generator=self._generator))
        self.seen.append(token)
        return self._told(token, logits)

    def _told(self, token: int, logits: Tensor) -> Chosen:
        count = self.sampling.logprobs
        if count is None:
            return Chosen(token)
        logprobs = logits.log_softmax(-1)
        best = logprobs.topk(min(count, len(logprobs)))
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return Chosen(token, float(logprobs[token]), tuple(pairs))
