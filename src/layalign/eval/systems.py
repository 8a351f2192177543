"""What can be evaluated: LayAlign, and the bare language model beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from os import PathLike
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from layalign.data import Example
from layalign.errors import ConfigError
from layalign.memory import return_freed_memory
from layalign.model import LayAlignModel
from layalign.padding import pad_id, pad_rows
from layalign.processing import LayAlignProcessor

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


QUESTION = "{question}"
LAYALIGN, BARE = "LayAlign", "bare LLM"

Feature = dict[str, list[int]]
"""Token ids of one example, by the name of the model's input."""

OnBatch = Callable[[int], None]
"""Called after every batch with the number of examples in it."""


class System(Protocol):
    """Anything that answers examples with text."""

    @property
    def new_tokens(self) -> int:
        """Tokens generated so far, over all calls."""

    def answer(
        self,
        examples: Sequence[Example],
        *,
        batch_size: int = 32,
        on_batch: OnBatch | None = None,
    ) -> list[str]:
        """Answer every example, in the order given."""


@dataclass
class _BatchedSystem:
    """Greedy generation in batches of similar length."""

    model: PreTrainedModel
    """What generates."""

    prompt_template: str | None = field(default=None, kw_only=True)
    """The language model's text; ``{question}`` stands for :attr:`Example.text`."""

    max_new_tokens: int = field(default=256, kw_only=True)
    """Longest answer, tokens."""

    generation: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    """Further arguments of transformers' ``generate``; they override greedy decoding."""

    new_tokens: int = field(default=0, init=False)
    """Tokens generated so far, over all calls."""

    def answer(
        self,
        examples: Sequence[Example],
        *,
        batch_size: int = 32,
        on_batch: OnBatch | None = None,
    ) -> list[str]:
        """Answer every example.

        Args:
            examples: Only ``text`` and ``language`` are read.
            batch_size: Examples generated at a time; those of similar length go together.
            on_batch: Told the size of every batch when it is done.

        Returns:
            One text an example, in the order given, without special tokens.

        Raises:
            ConfigError: ``batch_size`` is less than 1.
        """
        if batch_size < 1:
            raise ConfigError(f"batch_size must be at least 1, got {batch_size}")
        features = [self._encode(example) for example in examples]
        # The longest first: if memory does not suffice, that shows at once.
        order = sorted(range(len(features)), key=lambda i: -sum(map(len, features[i].values())))
        outputs = [""] * len(features)
        with evaluation_mode(self.model), torch.inference_mode():
            for start in range(0, len(order), batch_size):
                rows = order[start : start + batch_size]
                texts = self._answer_batch([features[i] for i in rows])
                for i, text in zip(rows, texts, strict=True):
                    outputs[i] = text
                if on_batch is not None:
                    on_batch(len(rows))
                return_freed_memory()  # a cache that grows by a token leaves holes of every size
        return outputs

    def _answer_batch(self, features: list[Feature]) -> list[str]:
        tokenizer = self._tokenizer()
        ends = self.model.generation_config.eos_token_id
        arguments = {
            "max_new_tokens": self.max_new_tokens,
            "do_sample": False,
            "num_beams": 1,
            "eos_token_id": ends,
            "pad_token_id": pad_id(tokenizer),
            **self.generation,
        }
        rows = until_end(self._generate(features, arguments), arguments["eos_token_id"])
        self.new_tokens += sum(map(len, rows))
        return list(tokenizer.batch_decode(rows, skip_special_tokens=True))

    def _tokenizer(self) -> PreTrainedTokenizerBase:
        raise NotImplementedError

    def _encode(self, example: Example) -> Feature:
        raise NotImplementedError

    def _generate(self, features: list[Feature], arguments: dict[str, Any]) -> Tensor:
        """Return new tokens only, ``(batch, new_len)``."""
        raise NotImplementedError


@dataclass
class LayAlignSystem(_BatchedSystem):
    """LayAlign: the encoder reads the text, the language model its prompt and the soft tokens.

    Without ``prompt_template`` the processor's own is used. The template may be empty (no text
    for the language model), an answer cue, or hold ``{question}``.
    """

    model: LayAlignModel
    processor: LayAlignProcessor

    def _tokenizer(self) -> PreTrainedTokenizerBase:
        return self.processor.tokenizer

    def _encode(self, example: Example) -> Feature:
        return self.processor.encode(
            example.text, language=example.language, prompt_template=self.prompt_template
        )

    def _generate(self, features: list[Feature], arguments: dict[str, Any]) -> Tensor:
        batch = self.processor.pad(features).to(self.model.device)
        ids: Tensor = self.model.generate(**batch, **arguments)
        return ids


@dataclass
class BareLLM(_BatchedSystem):
    """The language model alone, given the question as text in the prompt.

    Raises:
        ConfigError: The template has no ``{question}``, so the model would not see the text.
    """

    tokenizer: PreTrainedTokenizerBase
    prompt_template: str = field(default=QUESTION + "\n", kw_only=True)

    def __post_init__(self) -> None:
        """Check the template."""
        if QUESTION not in self.prompt_template:
            raise ConfigError(
                f"the bare language model's prompt template is {self.prompt_template!r}; "
                f"expected one with {QUESTION}"
            )

    def _tokenizer(self) -> PreTrainedTokenizerBase:
        return self.tokenizer

    def _encode(self, example: Example) -> Feature:
        prompt = self.prompt_template.replace(QUESTION, example.text, 1)
        ids = self.tokenizer(prompt, add_special_tokens=False, verbose=False)["input_ids"]
        # The same start as LayAlign's: one BOS wherever the model knows one.
        bos = self.model.config.get_text_config().bos_token_id
        return {"input_ids": [*([] if bos is None else [bos]), *ids]}

    def _generate(self, features: list[Feature], arguments: dict[str, Any]) -> Tensor:
        rows = [feature["input_ids"] for feature in features]
        ids, mask = pad_rows(rows, pad_id(self.tokenizer), left=True)
        ids, mask = ids.to(self.model.device), mask.to(self.model.device)
        full: Tensor = self.model.generate(  # type: ignore[operator]
            input_ids=ids, attention_mask=mask, **arguments
        )
        return full[:, ids.shape[1] :]


def load_checkpoint(checkpoint: str | PathLike[str]) -> tuple[LayAlignModel, LayAlignProcessor]:
    """Load a checkpoint's model, to a GPU if there is one, and its processor.

    Raises:
        LayAlignError: The checkpoint cannot be used.
    """
    model = LayAlignModel.from_pretrained(checkpoint)
    if torch.cuda.is_available():
        model.to("cuda")  # type: ignore[arg-type]
    return model, LayAlignProcessor.from_pretrained(checkpoint)


def make_systems(
    model: LayAlignModel,
    processor: LayAlignProcessor,
    *,
    bare: bool = True,
    bare_prompt_template: str | None = None,
    **options: Any,
) -> dict[str, System]:
    """LayAlign and, beside it, its bare language model.

    Args:
        model: What answers.
        processor: Its own.
        bare: Whether the bare language model is wanted too.
        bare_prompt_template: Its prompt, with ``{question}``; the processor's by default, with
            the question on a line before it if it does not take the question itself.
        **options: Of both systems, such as ``max_new_tokens``.

    Returns:
        ``LayAlign`` and, if wanted, ``bare LLM``.
    """
    systems: dict[str, System] = {LAYALIGN: LayAlignSystem(model, processor, **options)}
    if bare:
        template = bare_prompt_template or with_question(processor.prompt_template)
        systems[BARE] = BareLLM(
            model.language_model, processor.tokenizer, prompt_template=template, **options
        )
    return systems


def with_question(prompt_template: str) -> str:
    """Return a template that shows the question to a language model without an encoder."""
    if QUESTION in prompt_template:
        return prompt_template
    return f"{QUESTION}\n{prompt_template}"


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Put a module in eval mode, and every part of it back as it was afterwards."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def until_end(ids: Tensor, eos_token_id: int | Sequence[int] | None) -> list[list[int]]:
    """Cut every row after its first EOS; what follows is padding.

    Args:
        ids: New tokens, ``(batch, new_len)``.
        eos_token_id: Ids that end a row, if any.
    """
    ends = {eos_token_id} if isinstance(eos_token_id, int) else set(eos_token_id or ())
    rows: list[list[int]] = ids.tolist()
    for row in rows:
        last = next((i for i, token in enumerate(row) if token in ends), len(row))
        del row[last + 1 :]
    return rows
