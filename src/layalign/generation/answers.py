"""Answer texts with a saved checkpoint, in one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from os import PathLike
from typing import TYPE_CHECKING, Any

from transformers import TextStreamer

from layalign.data import Example
from layalign.data.languages import UNKNOWN_LANGUAGE
from layalign.errors import ConfigError, DataError
from layalign.eval.loading import load_systems
from layalign.eval.systems import System

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_KEYS = ("answer", "bare")


def generate(
    checkpoint: str | PathLike[str],
    texts: Sequence[str],
    *,
    language: str | None = None,
    max_new_tokens: int = 256,
    temperature: float | None = None,
    num_beams: int = 1,
    base: bool = False,
    batch_size: int = 8,
    dtype: str | None = None,
    stream: Callable[[str], None] | None = None,
) -> list[dict[str, str]]:
    """Load a checkpoint, or a plain language model, and let it answer.

    Args:
        checkpoint: As in :func:`layalign.eval.evaluate_checkpoint`.
        texts: What to answer, in any language.
        language: BCP-47 tag of all texts; only encoders that want to know it need it.
        max_new_tokens: Longest answer, tokens.
        temperature: Sample at this temperature; None for the likeliest token.
        num_beams: Beams of a beam search.
        base: Let the bare language model inside the checkpoint answer too, given the text itself.
        batch_size: Texts answered at a time.
        dtype: Arithmetic type of the models, ``"bfloat16"`` …; None for as stored.
        stream: Told pieces of the answers as they are generated, one text after the other.

    Returns:
        For each text ``text``, ``answer`` and, with ``base``, ``bare``.

    Raises:
        LayAlignError: The checkpoint cannot be used, or a text or setting is not valid.
    """
    if stream is not None and num_beams > 1:
        raise ConfigError(f"num_beams is {num_beams}, but only one beam can be streamed; choose")
    examples = [Example(text=text, language=language or UNKNOWN_LANGUAGE) for text in texts]
    if not examples:
        raise DataError("there is no text to answer; expected at least one")
    loaded = load_systems(checkpoint, bare=base, dtype=dtype, max_new_tokens=max_new_tokens)
    systems = [
        replace(one, generation=decoding(one.tokenizer, temperature, num_beams, stream))
        for one in loaded.values()
    ]
    # A stream holds one answer at a time, and all systems' answers to a text together.
    groups = [examples] if stream is None else [[example] for example in examples]
    return [row for group in groups for row in _answer(systems, group, batch_size)]


def _answer(
    systems: Sequence[System], examples: Sequence[Example], batch_size: int
) -> list[dict[str, str]]:
    columns = [system.answer(examples, batch_size=batch_size) for system in systems]
    return [
        {"text": example.text, **dict(zip(_KEYS, (a.text for a in answers), strict=False))}
        for example, *answers in zip(examples, *columns, strict=True)
    ]


def decoding(
    tokenizer: PreTrainedTokenizerBase,
    temperature: float | None,
    num_beams: int,
    stream: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Arguments of transformers' ``generate``; those of the function above say what they mean.

    Raises:
        ConfigError: A number is not above 0.
    """
    for name, value in (("temperature", temperature), ("num_beams", num_beams)):
        if value is not None and not value > 0:
            raise ConfigError(f"{name} is {value}; expected more than 0")
    options: dict[str, Any] = {"num_beams": num_beams}
    if temperature is not None:
        options |= {"do_sample": True, "temperature": temperature}
    if stream is not None:
        options["streamer"] = _Streamer(tokenizer, stream)
    return options


class _Streamer(TextStreamer):
    """Hand over text instead of printing it."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stream: Callable[[str], None]) -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self.stream = stream

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """Pass a finished piece on; every answer ends with a line break."""
        self.stream(text + "\n" * stream_end)
