"""Answer multiple choice by log-likelihood: the choice that the model finds most likely."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from layalign.data import Example
from layalign.eval.batching import in_batches, longest_first
from layalign.eval.metrics import choice_labels
from layalign.eval.results import Answer
from layalign.model.sequence import IGNORE_INDEX

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from layalign.eval.systems import BatchedSystem, OnBatch
    from layalign.eval.tasks import Normalise


@dataclass(frozen=True, kw_only=True)
class Likelihood:
    """How likely a continuation is."""

    logprob: float
    """Sum over its tokens, nats."""

    tokens: int
    """Number of its tokens."""

    greedy: bool
    """Whether every token is the likeliest one in its place."""


@dataclass
class ChoiceSystem:
    """A system that answers with the label of the likeliest choice and generates nothing."""

    system: BatchedSystem
    """What scores the choices."""

    continuation: str = " {label}"
    """What follows the prompt, with the ``{label}`` (letter) or the text of a ``{choice}``."""

    normalise: Normalise = "none"
    """Divide by the number of ``tokens`` or UTF-8 ``bytes`` of the continuation."""

    def answer(
        self,
        examples: Sequence[Example],
        *,
        batch_size: int = 32,
        on_batch: OnBatch | None = None,
    ) -> list[Answer]:
        """Choose for every example.

        Args:
            examples: With choices and gold answers, which tell how the choices are labelled.
            batch_size: Continuations scored at a time; those of one example stay together.
            on_batch: Told the answers of every batch, by position.

        Returns:
            A letter or a choice for each example, of whichever kind its gold answer is.

        Raises:
            DataError: An example has no gold answer among its choices.
            ConfigError: ``batch_size`` is less than 1.
        """
        labels = [choice_labels(example) for example in examples]
        texts = [self._continuations(example) for example in examples]
        rows = [
            [self.system.continue_prompt(example, text) for text in choices]
            for example, choices in zip(examples, texts, strict=True)
        ]

        def run(batch: list[int]) -> list[Answer]:
            found = iter(self.system.loglikelihoods([row for i in batch for row in rows[i]]))
            scores = [[self._score(text, next(found)) for text in texts[i]] for i in batch]
            best = [row.index(max(row)) for row in scores]
            return [Answer(labels[i][place]) for i, place in zip(batch, best, strict=True)]

        longest = [max(row, key=lambda feature: len(feature["input_ids"])) for row in rows]
        most = max(map(len, labels), default=1)
        size = max(min(batch_size, 1), batch_size // most)
        with self.system.evaluating():
            return in_batches(longest_first(longest), size, run, on_batch)

    def _continuations(self, example: Example) -> list[str]:
        return [
            self.continuation.replace("{label}", letter, 1).replace("{choice}", choice, 1)
            for letter, choice in zip(ascii_uppercase, example.choices, strict=False)
        ]

    def _score(self, text: str, found: Likelihood) -> float:
        lengths = {"none": 1, "tokens": found.tokens, "bytes": len(text.encode())}
        return found.logprob / lengths[self.normalise]


def continuation_ids(
    tokenizer: PreTrainedTokenizerBase, context: str, continuation: str
) -> list[int]:
    """Tokenise a text as it stands after another one.

    White space at the seam belongs to the continuation: give ``"Answer:"`` and ``" B"``.

    Returns:
        The ids that the continuation adds to those of the context.
    """

    def tokens(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    added = tokens(context + continuation)[len(tokens(context)) :]
    return added or tokens(continuation)  # a tokenizer may have joined both


def append(feature: Mapping[str, list[int]], ids: list[int]) -> dict[str, list[int]]:
    """Put a continuation behind a tokenised prompt, as the only labels."""
    prompt = feature["input_ids"]
    labels = [IGNORE_INDEX] * len(prompt) + ids
    return {**feature, "input_ids": prompt + ids, "labels": labels}


def label_span(labels: Tensor) -> int:
    """Columns from the first label of any row on; labels stand at the right end."""
    columns = (labels != IGNORE_INDEX).any(0).nonzero()
    return labels.shape[1] - int(columns[0])


def likelihoods(logits: Tensor, labels: Tensor) -> list[Likelihood]:
    """Add up the log-probabilities of labels.

    Args:
        logits: That predict the labels, ``(batch, span, vocabulary)``.
        labels: ``(batch, span)``, -100 where there is none.
    """
    real = labels != IGNORE_INDEX
    wanted = labels.masked_fill(~real, 0)
    chosen = torch.log_softmax(logits.float(), -1).gather(-1, wanted[..., None])[..., 0]
    hits = (logits.argmax(-1) == wanted) | ~real
    return [
        Likelihood(logprob=float(total), tokens=int(count), greedy=bool(greedy))
        for total, count, greedy in zip(
            (chosen * real).sum(1), real.sum(1), hits.all(1), strict=True
        )
    ]
