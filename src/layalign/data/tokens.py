"""Lengths of texts in the tokens of a tokenizer."""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from layalign.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHARACTERS = "characters"


def load_tokenizer(name_or_path: str) -> "PreTrainedTokenizerBase":
    """Load a tokenizer from a folder or the Hugging Face Hub.

    Raises:
        ConfigError: There is none.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerBase

    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(name_or_path)
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(
            f"cannot load a tokenizer from {name_or_path!r}: {str(error).splitlines()[0]}; "
            "expected a folder with tokenizer files or a Hugging Face model id"
        ) from error
    return tokenizer


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
    from layalign.embedded import resolve

    return load_tokenizer(resolve(model))


def _count(tokenizer: "PreTrainedTokenizerBase", text: str) -> int:
    return len(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
