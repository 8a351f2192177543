"""Lengths of texts in the tokens of a tokenizer."""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHARACTERS = "characters"


def counter(model: str | None) -> Callable[[str], int]:
    """What counts the tokens of a text, those that a tokenizer adds by itself left out.

    Args:
        model: Folder, hub id or name of an embedded model; None to count characters, as not every
            language has spaces between its words.

    Raises:
        ConfigError: The model has no tokenizer.
    """
    return len if model is None else partial(_count, _tokenizer(model))


@lru_cache(maxsize=4)
def _tokenizer(model: str) -> "PreTrainedTokenizerBase":
    from layalign.model.tokenizers import load_tokenizer

    return load_tokenizer(model)


def _count(tokenizer: "PreTrainedTokenizerBase", text: str) -> int:
    return len(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
