"""A stage before it is run: what it will read, how long that is, and the memory it takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from transformers import PreTrainedModel

from layalign.data import Example, mix
from layalign.eval.prompts import with_question
from layalign.model import LayAlignModel
from layalign.model.sequence import IGNORE_INDEX
from layalign.processing import LayAlignProcessor
from layalign.train.batches import StageDataset, byte_lengths, spread
from layalign.train.finetune import PlainDataset
from layalign.train.footprint import Lengths, Memory, finetune_memory, stage_memory
from layalign.train.methods import MethodPlan
from layalign.train.stages import StageConfig
from layalign.train.trainer import processor_for, with_lengths

_SAMPLE = 256  # examples tokenised for the mean
_LONGEST = 16  # and of the longest ones in bytes, for the maximum


class PlannedStage:
    """One stage of a plan.

    Args:
        name: Its name in the recipe.
        config: The stage.
        method: The run.
        examples: What of the training data is on this machine.
        counts: Examples of each training source, None where that is unknown.
        model: Without weights; None if its sizes are not known.
        processor: Tells how long examples are; None if there is none, then all are as long as
            allowed.
    """

    longest: Lengths
    """Of the data, or as allowed."""

    mean: tuple[float, float, float]
    """Mean tokens of an example in encoder, prompt and target."""

    tokens_from: str
    """``sample`` if that is from tokenised examples, ``lengths`` if it is what is allowed."""

    def __init__(
        self,
        name: str,
        config: StageConfig,
        method: MethodPlan,
        *,
        examples: Sequence[Example],
        counts: Sequence[int | None],
        model: PreTrainedModel | None,
        processor: LayAlignProcessor | None,
    ) -> None:
        """Count and measure."""
        self.name, self.config, self.recipe = name, config, method.recipe
        self.is_plain = name in method.language_model
        self.model: PreTrainedModel | None = model
        if self.is_plain and isinstance(model, LayAlignModel):
            self.model = model.language_model
        self.examples = examples
        known = [count for count in counts if count is not None]
        self.n_examples = sum(known) if len(known) == len(counts) else None
        mixing = getattr(self.recipe.data, name).mix
        if mixing is not None:
            self.examples = mix(self.examples, mixing)
            self.n_examples = mixing.total or self.n_examples
        self.limits = config.limits(self.n_examples or 0)
        self._known = self.n_examples is not None or config.epochs is None
        if self.examples and processor is not None:
            self._measure(processor)
            self.tokens_from = "sample"
        else:
            self.longest, self.tokens_from = self._allowed(), "lengths"
            self.mean = cast("tuple[float, float, float]", dataclasses.astuple(self.longest))

    @property
    def updates(self) -> int | None:
        """Optimizer updates; None if unknown."""
        return self.limits.updates if self._known else None

    @property
    def examples_read(self) -> float | None:
        """Examples that the stage reads before its end, as far as data and ``max_tokens`` say."""
        read = self.limits.examples if self._known else None
        if self._ends_by_tokens:
            return cast(int, self.limits.tokens) / sum(self.mean)
        return read

    @property
    def tokens(self) -> int | None:
        """Tokens that the stage reads, without padding; None if unknown."""
        if self._ends_by_tokens:
            return self.limits.tokens
        return self._tokens_of_data

    @property
    def _tokens_of_data(self) -> int | None:
        read = self.limits.examples if self._known else None
        return None if read is None else round(read * sum(self.mean))

    @property
    def _ends_by_tokens(self) -> bool:
        limit, tokens = self.limits.tokens, self._tokens_of_data
        return limit is not None and (tokens is None or tokens > limit)

    def memory(self, lengths: Lengths, dtype: str) -> Memory | None:
        """Memory of a device for a pass over examples of such lengths; None without a model."""
        if self.model is None:
            return None
        if self.is_plain:
            return finetune_memory(self.model, self.config, lengths, dtype=dtype)
        return stage_memory(cast(LayAlignModel, self.model), self.config, lengths, dtype=dtype)

    def counts(self) -> dict[str, Any]:
        """Examples and updates."""
        return {"examples": self.n_examples, "updates": self.updates}

    def details(self, dtype: str) -> dict[str, Any]:
        """Tokens, lengths and memory; see :func:`layalign.train.plan.make_plan`."""
        memory = self.memory(self.longest, dtype)
        return {
            "tokens": self.tokens,
            "tokens_from": "limit" if self._ends_by_tokens else self.tokens_from,
            "longest": dataclasses.asdict(self.longest),
            "memory_per_device": None if memory is None else memory.to_dict(),
        }

    def _allowed(self) -> Lengths:
        """Every part as long as the recipe allows."""
        names = ("encoder_max_length", "prompt_max_length", "target_max_length")
        # A fine-tune does not look at the recipe's processor.
        defaults = self.recipe.processor
        encoder, prompt, target = (
            getattr(self.config, name) or getattr(defaults, name) for name in names
        )
        if self.is_plain:
            return Lengths(encoder=0, prompt=prompt, target=target)
        no_prompt = self.config.prompt_template == ""
        return Lengths(encoder=encoder, prompt=0 if no_prompt else prompt, target=target)

    def _measure(self, processor: LayAlignProcessor) -> None:
        """Find the longest of each part and the means, in a sample."""
        dataset = self._dataset(processor)
        sizes = byte_lengths(self.examples)
        sample = [self._tokens(dataset, i) for i in spread(range(len(sizes)), _SAMPLE)]
        longest = np.argsort(sizes, kind="stable")[-_LONGEST:].tolist()
        encoder, prompt, target = (
            max(column)
            for column in zip(*sample, *(self._tokens(dataset, i) for i in longest), strict=False)
        )
        self.longest = Lengths(encoder=encoder, prompt=prompt, target=target)
        means = [sum(column) / len(sample) for column in zip(*sample, strict=True)]
        self.mean = means[0], means[1], means[2]

    def _dataset(self, processor: LayAlignProcessor) -> StageDataset:
        if not self.is_plain:
            return StageDataset(
                self.examples,
                processor_for(processor, self.config),
                text_dropout=self.config.text_dropout,
                seed=self.config.seed,
            )
        plain = LayAlignProcessor(
            processor.tokenizer,
            processor.tokenizer,
            prompt_template=with_question(processor.prompt_template),
        )
        config = with_lengths(self.config, processor)
        return PlainDataset(self.examples, processor_for(plain, config), None)

    def _tokens(self, dataset: StageDataset, index: int) -> tuple[int, int, int]:
        feature = dataset[index]
        target = sum(label != IGNORE_INDEX for label in feature["labels"])
        encoder = 0 if self.is_plain else len(feature["encoder_input_ids"])
        return encoder, len(feature["input_ids"]) - target, target
