"""The text of an answer as it grows: what can already be told, and where it stops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from layalign.eval.decoding import until_stop

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_HALF_A_CHARACTER = "\ufffd"
_SPACED = (" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're")
"""What some tokenizers write without its spaces, as soon as it is complete."""


class Transcript:
    """Ids become text, piece by piece; the pieces together are the offline answer.

    Held back is what may still change: a character of which the tokenizer has only the first
    bytes, and an end of the text with which a stop string may begin, or something that the
    tokenizer writes otherwise once it is complete.

    Args:
        tokenizer: Of the language model.
        stop: The text ends before any of these.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stop: Sequence[str] = ()) -> None:
        """Begin with nothing."""
        self.ids: list[int] = []
        self.stopped = False
        self._tokenizer = tokenizer
        self._stop = tuple(stop)
        self._told = 0
        spaced = _SPACED if getattr(tokenizer, "clean_up_tokenization_spaces", False) else ()
        self._watched = (*stop, *spaced)

    def add(self, token: int) -> str:
        """Take a token and return the text that is certain now."""
        self.ids.append(token)
        text = self._text()
        shown = until_stop(text, self._stop)
        self.stopped = len(shown) < len(text)
        if not self.stopped:
            shown = shown[: len(shown) - self._uncertain(shown)]
        return self._tell(shown)

    def finish(self) -> str:
        """Return what was held back; nothing more comes."""
        return self._tell(until_stop(self._text(), self._stop))

    def _text(self) -> str:
        return str(self._tokenizer.decode(self.ids, skip_special_tokens=True))

    def _tell(self, text: str) -> str:
        piece = text[self._told :]
        self._told = max(self._told, len(text))
        return piece

    def _uncertain(self, text: str) -> int:
        """Length of the end that is held back."""
        certain = text.rstrip(_HALF_A_CHARACTER)
        held = (
            size
            for word in self._watched
            for size in range(min(len(word) - 1, len(certain)), 0, -1)
            if certain.endswith(word[:size])
        )
        return len(text) - len(certain) + max(held, default=0)
