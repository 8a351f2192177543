"""From messages and texts to what the models read."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from layalign.chat_format import QUESTION, chat_prompt_template, render_chat, system_text
from layalign.data.languages import UNKNOWN_LANGUAGE, check_language
from layalign.errors import DataError
from layalign.eval.prompts import with_question
from layalign.eval.systems import BareLLM, BatchedSystem, Feature, LayAlignSystem

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from layalign.processing import LayAlignProcessor


class Turn(NamedTuple):
    """One message of a conversation."""

    role: Literal["system", "user", "assistant"]
    text: str


class Reader:
    """Tokenises requests. Tokenizers hold state, so one thread at a time uses them.

    Args:
        systems: What answers, by name.
    """

    def __init__(self, systems: Mapping[str, BatchedSystem]) -> None:
        """Share the tokenizers of the systems."""
        self._systems = systems
        self._lock = threading.Lock()

    def chat(
        self,
        system: str,
        turns: Sequence[Turn],
        *,
        language: str | None = None,
        encoder_text: str | None = None,
    ) -> Feature:
        """Tokenise a conversation.

        The encoder reads the last message. The language model reads the conversation in the format
        of the prompt that the checkpoint was trained with; of a single question that is exactly
        what offline generation gives it.

        Args:
            system: Name of what answers.
            turns: The last one is the user's.
            language: BCP-47 tag of the encoder's text; only some encoders need it.
            encoder_text: What the encoder reads instead.

        Raises:
            DataError: The conversation is not one, a text is too long, or the language is unknown.
        """
        if not turns or turns[-1].role != "user":
            raise DataError("the last message is not the user's; expected a question to answer")
        question = turns[-1].text
        _check_texts([*(turn.text for turn in turns), encoder_text or ""])
        answering = self._systems[system]
        template = _template(answering)
        text = None if len(turns) == 1 else conversation(answering.tokenizer, template, turns)
        with self._lock:
            if isinstance(answering, BareLLM):
                return answering.feature(text or template.replace(QUESTION, question, 1))
            assert isinstance(answering, LayAlignSystem)
            read = encoder_text or question
            return _encode(answering.processor, read, language, question=question, text=text)

    def text(
        self,
        system: str,
        text: str,
        *,
        language: str | None = None,
        encoder_text: str | None = None,
    ) -> Feature:
        """Tokenise a text that the language model is to continue, as it is.

        Args:
            system: Name of what answers.
            text: The language model's text; the encoder reads it too.
            language: BCP-47 tag of the encoder's text; only some encoders need it.
            encoder_text: What the encoder reads instead.

        Raises:
            DataError: The text is empty or too long, or the language is unknown.
        """
        _check_texts([text, encoder_text or ""])
        answering = self._systems[system]
        with self._lock:
            if isinstance(answering, BareLLM):
                return answering.feature(text)
            assert isinstance(answering, LayAlignSystem)
            return _encode(answering.processor, encoder_text or text, language, text=text)


def conversation(tokenizer: PreTrainedTokenizerBase, template: str, turns: Sequence[Turn]) -> str:
    """Write down a conversation, up to where its next answer begins.

    In the language model's chat format if the prompt is in it, with the prompt's own system text
    unless the conversation brings one; else one prompt after the other.

    Args:
        tokenizer: Of the language model.
        template: The prompt of one question; ``{question}`` may be missing.
        turns: The last one is the user's.

    Raises:
        DataError: The chat format has no place for one of the messages.
    """
    if _is_chat(tokenizer, template):
        messages = [{"role": turn.role, "content": turn.text} for turn in turns]
        own = system_text(tokenizer, template)
        if own is not None and turns[0].role != "system":
            messages.insert(0, {"role": "system", "content": own})
        try:
            return render_chat(tokenizer, messages)
        except Exception as error:  # of jinja2, an extra, or whatever the template does
            raise DataError(
                "the chat format of this language model refuses these messages; expected turns of "
                "user and assistant, with at most one system message before them"
            ) from error
    head, _, tail = with_question(template).partition(QUESTION)
    gap = "" if not tail or tail[-1].isspace() else " "
    written = {"system": ("", "\n"), "user": (head, tail + gap), "assistant": ("", "\n")}
    past = "".join(written[role][0] + text + written[role][1] for role, text in turns[:-1])
    return past + template.replace(QUESTION, turns[-1].text, 1)


def _is_chat(tokenizer: PreTrainedTokenizerBase, template: str) -> bool:
    """Whether a prompt goes on after the question as the tokenizer's chat format does."""
    tail = template.partition(QUESTION)[2]
    if not tail or not tokenizer.chat_template:
        return False
    return tail == chat_prompt_template(tokenizer).partition(QUESTION)[2]


def _template(system: BatchedSystem) -> str:
    if isinstance(system, LayAlignSystem) and system.prompt_template is None:
        return system.processor.prompt_template
    assert system.prompt_template is not None
    return system.prompt_template


def _encode(
    processor: LayAlignProcessor,
    read: str,
    language: str | None,
    *,
    question: str | None = None,
    text: str | None = None,
) -> Feature:
    """Tokenise for both models; ``text`` is the language model's, if it is not the own prompt.

    Raises:
        DataError: Something would be cut.
    """
    before = processor.truncations
    feature = processor.encode(
        read,
        language=UNKNOWN_LANGUAGE if language is None else check_language(language),
        question=question,
        prompt_template=None if text is None else "",
    )
    if text is not None:
        ids = processor.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        feature["input_ids"] = list(ids)
    limits = {"encoder": processor.encoder_max_length, "prompt": processor.prompt_max_length}
    for name, limit in limits.items():
        if processor.truncations.get(name, 0) > before.get(name, 0):
            raise DataError(f"the text is longer than the {limit} tokens of the {name}; shorten it")
    return feature


def _check_texts(texts: Sequence[str]) -> None:
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise DataError("a text holds half a character (a lone surrogate)") from error
