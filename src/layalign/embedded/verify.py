"""Prove that a folder holds the model it should: sizes, token ids, weights, behaviour.

The figures come from outside the conversion: from the documented byte layout read by other code,
from the ``gguf`` package's own unpacking, and from the engine that the encoder is shipped with.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from layalign.errors import BackboneError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

COSINE_TOLERANCE = 0.01
"""The engine that gave the cosines rounds its activations to 8 bits."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The first values of one row of one tensor."""

    tensor: str
    row: int
    values: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known about a model without looking at the converted folder."""

    config: Mapping[str, object]
    """Fields of the model's configuration."""
    special_ids: Mapping[str, int]
    """Attributes of the tokenizer, such as ``bos_token_id``."""
    token_ids: Mapping[str, tuple[int, ...]]
    """Text to all its ids, special tokens included."""
    round_trips: tuple[str, ...] = ()
    """Texts that decode to exactly themselves."""
    digits_are_tokens: bool = False
    """Every digit of a number is a token of its own."""
    n_parameters: int
    n_tensors: int
    weights: tuple[Weights, ...] = ()
    cosines: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """Two texts to the cosine of their mean-pooled last states (encoders)."""
    continuations: Mapping[str, str] = field(default_factory=dict)
    """Text to the likeliest next token (language models)."""


def verify(folder: Path, facts: Facts, *, converted: bool = True) -> None:
    """Check a folder against the facts.

    Args:
        folder: A Hugging Face folder.
        facts: What to find there.
        converted: The weights are those of the shipped 4-bit file. The hub's full-precision files
            have the same sizes and token ids but other values, so their weights are not compared.

    Raises:
        BackboneError: Something differs.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    _verify_config(folder, facts)
    _verify_tokenizer(tokenizer, facts)
    if converted:
        _verify_weights(folder, facts)
        _verify_cosines(folder, tokenizer, facts)
        _verify_continuations(folder, tokenizer, facts)


def _expect(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise BackboneError(
            f"the converted model fails its check: {what} is {found}, expected {expected}; its "
            "checksum was right, so an installed transformers, tokenizers or gguf release may be "
            "one that layalign was not tested with"
        )


def _verify_config(folder: Path, facts: Facts) -> None:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    for name, expected in facts.config.items():
        _expect(name, getattr(config, name, None), expected)


def _verify_tokenizer(tokenizer: PreTrainedTokenizerBase, facts: Facts) -> None:
    for name, expected_id in facts.special_ids.items():
        _expect(name, getattr(tokenizer, name), expected_id)
    for text, expected_ids in facts.token_ids.items():
        _expect(f"token ids of {text!r}", tokenizer(text)["input_ids"], list(expected_ids))
    for text in facts.round_trips:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        _expect(f"decoding of the ids of {text!r}", tokenizer.decode(ids), text)
    if facts.digits_are_tokens:
        n_tokens = len(tokenizer("1234567890", add_special_tokens=False)["input_ids"])
        _expect("number of tokens in 1234567890", n_tokens, 10)


def _verify_weights(folder: Path, facts: Facts) -> None:
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", framework="np") as file:
        names = list(file.keys())
        _expect("number of tensors", len(names), facts.n_tensors)
        n_parameters = sum(math.prod(file.get_slice(name).get_shape()) for name in names)
        _expect("number of parameters", n_parameters, facts.n_parameters)
        for weights in facts.weights:
            row = file.get_slice(weights.tensor)[weights.row : weights.row + 1].reshape(-1)
            found = tuple(row[: len(weights.values)].tolist())
            _expect(f"row {weights.row} of {weights.tensor}", found, weights.values)


def _verify_cosines(folder: Path, tokenizer: PreTrainedTokenizerBase, facts: Facts) -> None:
    if not facts.cosines:
        return
    import torch
    from torch.nn.functional import cosine_similarity
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder, add_pooling_layer=False, trust_remote_code=False)
    for pair, expected in facts.cosines.items():
        with torch.inference_mode():
            first, second = (
                model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(dim=0)
                for text in pair
            )
        found = float(cosine_similarity(first, second, dim=0))
        if not abs(found - expected) < COSINE_TOLERANCE:
            _expect(f"cosine of {pair}", round(found, 4), expected)


def _verify_continuations(folder: Path, tokenizer: PreTrainedTokenizerBase, facts: Facts) -> None:
    if not facts.continuations:
        return
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=False)
    for text, expected in facts.continuations.items():
        with torch.inference_mode():
            logits = model(**tokenizer(text, return_tensors="pt")).logits
        found = tokenizer.decode([int(logits[0, -1].argmax())])
        _expect(f"continuation of {text!r}", found, expected)
