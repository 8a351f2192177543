"""What is read when: the order of examples, and examples as tensors."""

from __future__ import annotations

import dataclasses
import itertools
import random
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from layalign.chat_format import QUESTION
from layalign.data.tables import ExampleTable, indices_by_language
from layalign.errors import DataError
from layalign.model.sequence import IGNORE_INDEX
from layalign.train.features import CUT, tokenise

if TYPE_CHECKING:
    from layalign.data.example import Example
    from layalign.processing import Feature, LayAlignProcessor

T = TypeVar("T")

# Updates whose examples are sorted by length together: enough to save nearly all padding, few
# enough that an update still is a random draw.
_POOL = 50
_ENDLESS = 2**40  # examples, for runs that only tokens or minutes end


class UpdateSampler(Sampler[int]):
    """The order in which examples are read, over the whole run rather than one epoch.

    Every epoch is shuffled anew; updates run on over its end. The order depends on the arguments
    alone, so that a resumed run finds its place by counting.

    Args:
        lengths: Cost of each example, in any unit.
        batch_size: Examples per update.
        total: Examples to read; None for no end.
        seed: Of the order.
        group_by_length: Put examples of similar length into one update.
        multiple: Fill the end up to a multiple of this with ``~index`` of the last example, which
            is read but teaches nothing, so that several processes end at the same time.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        *,
        batch_size: int,
        total: int | None,
        seed: int,
        group_by_length: bool,
        multiple: int = 1,
    ) -> None:
        """Keep the arguments."""
        self.lengths = lengths
        self.batch_size = batch_size
        self.total = _ENDLESS if total is None else total
        self.seed = seed
        self.pool_size = batch_size * (_POOL if group_by_length else 1)
        self.filling = -self.total % multiple

    def __len__(self) -> int:
        """Examples to read, those that fill the end up included."""
        return self.total + self.filling

    def __iter__(self) -> Iterator[int]:
        """Indices into the training set."""
        index = 0
        for index in self._examples():
            yield index
        yield from itertools.repeat(~index, self.filling)

    def _examples(self) -> Iterator[int]:
        stream = itertools.islice(self._shuffled_epochs(), self.total)
        for number in itertools.count():
            pool = list(itertools.islice(stream, self.pool_size))
            if not pool:
                return
            yield from self._arrange(pool, random.Random(f"pool {self.seed} {number}"))

    def _shuffled_epochs(self) -> Iterator[int]:
        for epoch in itertools.count():
            order = array("q", range(len(self.lengths)))
            random.Random(f"epoch {self.seed} {epoch}").shuffle(order)
            yield from order

    def _arrange(self, pool: list[int], shuffle: random.Random) -> list[int]:
        """Sort by length inside each update; updates of similar length in random order."""
        spare = len(pool) % self.batch_size  # an incomplete update can only be the last one
        rest, pool = pool[len(pool) - spare :], pool[: len(pool) - spare]
        pool.sort(key=self.lengths.__getitem__)
        updates = [
            pool[start : start + self.batch_size] for start in range(0, len(pool), self.batch_size)
        ]
        shuffle.shuffle(updates)
        updates.append(sorted(rest, key=self.lengths.__getitem__))
        return [index for update in updates for index in update]


class StageDataset(Dataset["Feature"]):
    """Examples as token ids: made when they are read or, of those on disk, once beforehand.

    Args:
        examples: Each with a target.
        processor: Its settings are those of the stage.
        text_dropout: Share of examples whose question stays out of the language model's text.
        seed: Of the choice of those.

    Raises:
        DataError: There is no example, or one without a target.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        processor: LayAlignProcessor,
        *,
        text_dropout: float = 0.0,
        seed: int = 0,
    ) -> None:
        """Check the examples."""
        check_examples(examples)
        self.examples = examples
        self.processor = processor
        self.text_dropout = text_dropout
        self.seed = seed
        self.features: Sequence[dict[str, list[Any]]] | None = None

    def prepare(self) -> None:
        """Tokenise all examples if they are on disk, unless that has been done.

        Raises:
            DataError: The ids cannot be written.
        """
        if isinstance(self.examples, ExampleTable):
            self.features = tokenise(
                self.examples,
                self.processor,
                self._encode,
                text_dropout=self.text_dropout,
                seed=self.seed if self.text_dropout else None,
            )

    def __len__(self) -> int:
        """Number of examples."""
        return len(self.examples)

    def __getitem__(self, index: int) -> Feature:
        """Token ids of one example; of ``~index`` the same, with nothing to learn."""
        if index < 0:
            feature = self._read(~index)
            return {**feature, "labels": [IGNORE_INDEX] * len(feature["labels"])}
        return self._read(index)

    def _read(self, index: int) -> Feature:
        if self.features is None:
            return self._encode(self.processor, index, self.examples[index])
        feature = dict(self.features[index])
        self.processor.count_truncations(feature.pop(CUT))
        return feature

    def _encode(self, processor: LayAlignProcessor, index: int, example: Example) -> Feature:
        template = processor.prompt_template
        # Of the example alone, not of when it is read, so that a resumed run finds the same.
        if random.Random(f"text {self.seed} {index}").random() < self.text_dropout:
            template = template.replace(QUESTION, "")
        return processor.encode(
            example.text,
            language=example.language,
            target=example.target,
            prompt_template=template,
        )

    def collate(self, features: list[Feature]) -> dict[str, Any]:
        """Padded tensors of several examples."""
        batch = dict(self.processor.pad(features))
        # There are none in a batch that only fills an update up.
        batch.setdefault("labels", torch.full_like(batch["input_ids"], IGNORE_INDEX))
        return batch

    def by_language(self, size: int) -> Iterator[tuple[str, list[int]]]:
        """Batches of at most ``size`` indices, each of one language and of similar lengths."""
        lengths = byte_lengths(self.examples)
        for language, found in sorted(indices_by_language(self.examples).items()):
            indices = sorted(found, key=lengths.__getitem__)
            for start in range(0, len(indices), size):
                yield language, indices[start : start + size]


def to_learn(examples: Iterable[Example], learn: Literal["target", "answer"]) -> Iterator[Example]:
    """Yield examples whose target is what a stage is to teach; see ``StageData.learn``."""
    if learn == "target":
        yield from examples
    else:
        yield from (dataclasses.replace(example, target=example.answer) for example in examples)


def check_examples(examples: Sequence[Example]) -> None:
    """See that there is something to learn.

    Raises:
        DataError: There is no example, or one without a target.
    """
    if not examples:
        raise DataError("no example to train on; check the data's path, split and languages")
    for index, example in enumerate(examples):
        if not example.target:
            raise DataError(
                f"example {example.id or index} ({example.language}) has no target to learn; "
                "expected English text in its target"
            )


def tokens_read(batch: Mapping[str, Any]) -> int:
    """Tokens of a batch without padding, and without examples that only fill it up."""
    learns = (batch["labels"] != IGNORE_INDEX).any(-1)
    masks = (mask for name, mask in batch.items() if name.endswith("attention_mask"))
    return sum(int(mask[learns].sum()) for mask in masks)


def byte_lengths(examples: Sequence[Example]) -> array[int]:
    """Cost of each example without tokenising it: bytes follow tokens well across scripts."""
    return array("q", (len(e.text.encode()) + len((e.target or "").encode()) for e in examples))


def spread(values: Sequence[T], count: int) -> list[T]:
    """At most ``count`` values, taken evenly from the whole."""
    step = max(len(values) / count, 1.0)
    return [values[int(i * step)] for i in range(min(count, len(values)))]


def spread_different(texts: Callable[[], Iterable[str]], count: int) -> list[str]:
    """At most ``count`` different texts, taken evenly from all that are different.

    Args:
        texts: Gives all of them, in the same order at every call. They are not held in memory, only
            a number of 64 bits for each.
        count: How many.
    """
    hashes = np.fromiter(map(hash, texts()), np.int64)
    first = np.sort(np.unique(hashes, return_index=True)[1])  # where each occurs first
    chosen = {int(first[i]) for i in spread(range(len(first)), count)}
    return [text for index, text in enumerate(texts()) if index in chosen]
