"""A conversation with a checkpoint, in which its bare language model can answer instead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from os import PathLike

from layalign.chat_format import QUESTION, Turn, continued
from layalign.data import Example
from layalign.data.languages import UNKNOWN_LANGUAGE
from layalign.data.rows import plain_text
from layalign.errors import ConfigError
from layalign.eval.loading import load_systems
from layalign.eval.systems import BARE, LAYALIGN, BatchedSystem, LayAlignSystem
from layalign.generation.answers import decoding


class Chat:
    """Ask one question after the other.

    Where the prompt is in the language model's own chat format, it holds the earlier turns too, as
    many of the last ones as fit; the encoder reads the question alone. With any other prompt every
    question stands for itself.

    Args:
        checkpoint: As in :func:`layalign.eval.evaluate_checkpoint`.
        language: BCP-47 tag of the questions; only some encoders need it.
        max_new_tokens: Longest answer, tokens.
        temperature: Sample at this temperature; None for the likeliest token.
        dtype: Arithmetic type of the models, ``"bfloat16"`` …; None for as stored.

    Raises:
        LayAlignError: The checkpoint or a setting cannot be used.
    """

    def __init__(
        self,
        checkpoint: str | PathLike[str],
        *,
        language: str | None = None,
        max_new_tokens: int = 256,
        temperature: float | None = None,
        dtype: str | None = None,
    ) -> None:
        """Load the checkpoint."""
        self._systems = load_systems(checkpoint, dtype=dtype, max_new_tokens=max_new_tokens)
        self.language = language or UNKNOWN_LANGUAGE
        self.temperature = temperature
        self.history: list[Turn] = []
        """What is remembered, the oldest turn first."""
        self._base = LAYALIGN not in self._systems

    @property
    def base(self) -> bool:
        """Whether the bare language model answers; of a plain one, always.

        Raises:
            ConfigError: Set to False for a plain language model.
        """
        return self._base

    @base.setter
    def base(self, value: bool) -> None:
        if not value and LAYALIGN not in self._systems:
            raise ConfigError("this is a plain language model; there is nothing beside it")
        self._base = value

    def ask(self, text: str, *, stream: Callable[[str], None] | None = None) -> str:
        """Answer, and remember the turn; an interrupted one is forgotten.

        Args:
            text: In any language.
            stream: Told pieces of the answer as they are generated; ends with a line break.

        Raises:
            LayAlignError: The text is empty, or memory does not suffice.
        """
        example = Example(text=plain_text(text), language=self.language)
        system = self._systems[BARE if self.base else LAYALIGN]
        system = replace(
            system,
            prompt_template=self._prompt(system, example.text),
            generation=decoding(system.tokenizer, self.temperature, 1, stream),
        )
        (answer,) = system.answer([example], batch_size=1)
        self.history.append((example.text, answer.text))
        return answer.text

    def _prompt(self, system: BatchedSystem, question: str) -> str:
        """The prompt with the history, of which the beginning is dropped until it fits."""
        if isinstance(system, LayAlignSystem):
            own = system.processor.prompt_template
        else:
            own = system.prompt_template or QUESTION
        while self.history:
            prompt = continued(system.tokenizer, own, self.history)
            asked = prompt.replace(QUESTION, question, 1)
            ids = system.tokenizer(asked, add_special_tokens=False, verbose=False)["input_ids"]
            if prompt == own or len(ids) <= self._longest_prompt:
                return prompt
            del self.history[0]
        return own

    @property
    def _longest_prompt(self) -> int:
        """In tokens."""
        system = next(iter(self._systems.values()))
        if isinstance(system, LayAlignSystem):
            return system.processor.prompt_max_length
        config = system.model.config.get_text_config()
        positions = getattr(config, "max_position_embeddings", None) or 2048
        return int(positions) - system.max_new_tokens
