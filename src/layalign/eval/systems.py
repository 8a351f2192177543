"""What can be evaluated: LayAlign, and a language model alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from layalign.chat_format import QUESTION
from layalign.data import Example
from layalign.eval.batching import in_batches, longest_first
from layalign.eval.decoding import end_ids, evaluation_mode, until_end, until_stop
from layalign.eval.likelihood import (
    Likelihood,
    append,
    continuation_ids,
    label_span,
    likelihoods,
)
from layalign.eval.prompts import BARE_PROMPT, Prompt, Template, check_question
from layalign.eval.results import Answer
from layalign.model import LayAlignModel
from layalign.model.generating import with_own_penalty
from layalign.model.lora import without_lora
from layalign.model.sequence import IGNORE_INDEX, kept_positions
from layalign.padding import pad_id, pad_rows
from layalign.processing import LayAlignProcessor

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


LAYALIGN, BARE = "LayAlign", "bare LLM"

Feature = dict[str, list[int]]
"""Token ids of one example, by the name of the model's input."""

OnBatch = Callable[[Mapping[int, Answer]], None]
"""Called after every batch with its answers, by the position of their example."""


class System(Protocol):
    """Anything that answers examples with text."""

    def answer(
        self,
        examples: Sequence[Example],
        *,
        batch_size: int = 32,
        on_batch: OnBatch | None = None,
    ) -> list[Answer]:
        """Answer every example, in the order given, and tell of every batch when it is done."""


@dataclass
class BatchedSystem:
    """Greedy generation in batches of similar length."""

    model: PreTrainedModel
    """What generates."""

    tokenizer: PreTrainedTokenizerBase
    """Of the language model."""

    prompt_template: str | None = field(default=None, kw_only=True)
    """The language model's text, with ``{question}``, where :attr:`template` has none."""

    template: Template = field(default_factory=Template, kw_only=True)
    """How a task puts its examples into words; by default as they are."""

    stop: tuple[str, ...] = field(default=(), kw_only=True)
    """An answer ends before any of these."""

    max_new_tokens: int = field(default=256, kw_only=True)
    """Longest answer, tokens."""

    generation: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    """Further arguments of transformers' ``generate``; they override greedy decoding."""

    def answer(
        self,
        examples: Sequence[Example],
        *,
        batch_size: int = 32,
        on_batch: OnBatch | None = None,
    ) -> list[Answer]:
        """Answer every example.

        Args:
            examples: What the templates name is read, answers are not.
            batch_size: Examples generated at a time; those of similar length go together. Halved
                whenever memory does not suffice.
            on_batch: Told the answers of every batch when it is done.

        Returns:
            One answer an example, in the order given, without special tokens.

        Raises:
            ConfigError: ``batch_size`` is less than 1.
            EvaluationError: Memory does not suffice for a single example.
        """
        features = [self._encode(example) for example in examples]

        def run(rows: list[int]) -> list[Answer]:
            return self.answer_batch([features[i] for i in rows])

        with self.evaluating():
            return in_batches(longest_first(features), batch_size, run, on_batch)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Put the model in eval mode, without gradients, for as long as it is used."""
        with evaluation_mode(self.model), torch.inference_mode():
            yield

    def continue_prompt(self, example: Example, continuation: str) -> Feature:
        """Tokenise the prompt of an example and what follows it."""
        prompt = self._prompt(example)
        # White space before the seam belongs to what follows, as tokenizers see it.
        template = prompt.template.rstrip()
        continuation = prompt.template[len(template) :] + continuation
        context = template.replace(QUESTION, prompt.question, 1)
        feature = self._feature(replace(prompt, template=template), example.language)
        return append(feature, continuation_ids(self.tokenizer, context, continuation))

    def loglikelihoods(self, features: Sequence[Feature]) -> list[Likelihood]:
        """Say how likely the continuations of one batch are.

        Args:
            features: From :meth:`continue_prompt`.
        """
        labels, _ = pad_rows([f["labels"] for f in features], IGNORE_INDEX, left=True)
        labels = labels.to(self.model.device)
        span = label_span(labels)
        logits = self._logits(list(features), span + 1)
        return likelihoods(logits[:, :-1], labels[:, -span:])

    def answer_batch(self, features: list[Feature]) -> list[Answer]:
        """Generate the answers to tokenised prompts, all at once."""
        arguments = self._arguments()
        rows = until_end(self._generate(features, arguments), arguments["eos_token_id"])
        texts = self.tokenizer.batch_decode(rows, skip_special_tokens=True)
        return [
            Answer(until_stop(text, self.stop), len(row))
            for text, row in zip(texts, rows, strict=True)
        ]

    @property
    def ends(self) -> set[int]:
        """Ids that end an answer: those of the model's settings, and the EOS that targets have."""
        settings = self.model.generation_config
        return end_ids(settings.eos_token_id) | end_ids(self.tokenizer.eos_token_id)

    def _arguments(self) -> dict[str, Any]:
        """Those of transformers' ``generate``."""
        arguments = {
            "max_new_tokens": self.max_new_tokens,
            "do_sample": False,
            "num_beams": 1,
            "eos_token_id": sorted(self.ends) or None,
            "pad_token_id": pad_id(self.tokenizer),
            **self.generation,
        }
        if self.stop:
            arguments |= {"stop_strings": list(self.stop), "tokenizer": self.tokenizer}
        return arguments

    def _encode(self, example: Example) -> Feature:
        return self._feature(self._prompt(example), example.language)

    def _prompt(self, example: Example) -> Prompt:
        """Return the example's texts, the language model's never left out."""
        raise NotImplementedError

    def _feature(self, prompt: Prompt, language: str) -> Feature:
        """Tokenise these texts."""
        raise NotImplementedError

    def _generate(self, features: list[Feature], arguments: dict[str, Any]) -> Tensor:
        """Return new tokens only, ``(batch, new_len)``."""
        raise NotImplementedError

    def _logits(self, features: list[Feature], keep: int) -> Tensor:
        """Return the logits of the last positions, ``(batch, keep, vocabulary)``."""
        raise NotImplementedError


@dataclass
class LayAlignSystem(BatchedSystem):
    """LayAlign: the encoder reads the text, the language model its prompt and the soft tokens.

    Without ``prompt_template`` the processor's own is used. It may be empty (no text for the
    language model), an answer cue, or hold ``{question}``.
    """

    model: LayAlignModel
    tokenizer: PreTrainedTokenizerBase = field(init=False)
    processor: LayAlignProcessor

    def __post_init__(self) -> None:
        """Take the tokenizer of the processor."""
        self.tokenizer = self.processor.tokenizer

    def _prompt(self, example: Example) -> Prompt:
        own = self.prompt_template
        return self.template.prompt(example, self.processor.prompt_template if own is None else own)

    def _feature(self, prompt: Prompt, language: str) -> Feature:
        return self.processor.encode(
            prompt.text,
            language=language,
            question=prompt.question,
            prompt_template=prompt.template,
        )

    def _generate(self, features: list[Feature], arguments: dict[str, Any]) -> Tensor:
        batch = self.processor.pad(features).to(self.model.device)
        ids: Tensor = self.model.generate(**batch, **arguments)
        return ids

    def _logits(self, features: list[Feature], keep: int) -> Tensor:
        batch = self.processor.pad(features).to(self.model.device)
        del batch["labels"]
        logits: Tensor = self.model(**batch, logits_to_keep=keep).logits
        return logits


@dataclass
class BareLLM(BatchedSystem):
    """The language model alone, given the question as text in the prompt.

    Raises:
        ConfigError: The template has no ``{question}``, so the model would not see the text.
    """

    prompt_template: str = field(default=QUESTION + "\n", kw_only=True)

    def __post_init__(self) -> None:
        """Check the template."""
        check_question(self.prompt_template, BARE_PROMPT)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Also without the LoRA that LayAlign may have trained on it."""
        with without_lora(self.model), super().evaluating():
            yield

    def _prompt(self, example: Example) -> Prompt:
        return self.template.bare_prompt(example, self.prompt_template)

    def _feature(self, prompt: Prompt, language: str) -> Feature:
        return self.feature(prompt.template.replace(QUESTION, prompt.question, 1))

    def feature(self, text: str) -> Feature:
        """Tokenise a whole prompt."""
        ids = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        # The same start as LayAlign's: one BOS wherever the model knows one.
        bos = self.model.config.get_text_config().bos_token_id
        return {"input_ids": [*([] if bos is None else [bos]), *ids]}

    def _generate(self, features: list[Feature], arguments: dict[str, Any]) -> Tensor:
        batch = self.batch(features)
        # As LayAlign's prompts, these are no ids, so that stop strings and penalties look at the
        # answer alone.
        embeds = self.model.get_input_embeddings()(batch.pop("input_ids"))
        arguments = with_own_penalty(arguments, self.model.generation_config)
        if arguments["num_beams"] == 1:  # for several, transformers would repeat them
            arguments["logits_to_keep"] = kept_positions(1, embeds)
        ids: Tensor = self.model.generate(  # type: ignore[operator]
            inputs_embeds=embeds, **batch, **arguments
        )
        return ids

    def _logits(self, features: list[Feature], keep: int) -> Tensor:
        batch = self.batch(features)
        positions = (batch["attention_mask"].cumsum(-1) - 1).clamp(min=0)
        kept = kept_positions(keep, batch["input_ids"])
        logits: Tensor = self.model(**batch, position_ids=positions, logits_to_keep=kept).logits
        return logits

    def batch(self, features: list[Feature]) -> dict[str, Tensor]:
        """What the model is given for tokenised prompts, padded on the left."""
        rows = [feature["input_ids"] for feature in features]
        ids, mask = pad_rows(rows, pad_id(self.tokenizer), left=True)
        device = self.model.device
        return {"input_ids": ids.to(device), "attention_mask": mask.to(device)}
