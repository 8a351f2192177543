"""Token ids of examples on disk: made once for a run, and found again when it is resumed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any

from layalign.data.example import Example
from layalign.data.tables import ExampleTable
from layalign.eval.provenance import versions
from layalign.processing import Feature, LayAlignProcessor

CUT = "cut"
_TOKENISING = ("transformers", "tokenizers", "sentencepiece", "datasets")
_TYPES = {
    **{"encoder_input_ids": "int32", "input_ids": "int32", "labels": "int32"},
    CUT: "string",
}


def tokenise(
    examples: ExampleTable,
    processor: LayAlignProcessor,
    encode: Callable[[LayAlignProcessor, int, Example], Feature],
    **settings: Any,
) -> Sequence[dict[str, list[Any]]]:
    """Token ids of all examples, to be read by index.

    What has been made before for the same examples, with the same processor, settings and versions
    of the libraries that tokenise, is read and not made again.

    Args:
        examples: On disk.
        processor: Its ``truncations`` do not change.
        encode: From a processor, an example and its index to ids.
        **settings: Whatever else ``encode`` depends on, as plain values.

    Returns:
        For each example its ids and, under :data:`CUT`, the names of the inputs that were cut.

    Raises:
        DataError: The ids cannot be written.
    """
    fresh = LayAlignProcessor(
        processor.encoder_tokenizer, processor.tokenizer, **processor.settings()
    )

    def with_cuts(index: int, example: Example) -> dict[str, list[Any]]:
        before = fresh.truncations
        feature = encode(fresh, index, example)
        cut = [name for name, n in fresh.truncations.items() if n > before.get(name, 0)]
        return {**feature, CUT: cut}

    key = json.dumps([fingerprint(fresh), settings, versions(_TOKENISING)], sort_keys=True)
    return examples.tokenised(with_cuts, _TYPES, key=key)


def fingerprint(processor: LayAlignProcessor) -> str:
    """The same text for processors that give the same ids, another one for others.

    Tokenizers that are not fast ones cannot be compared: for them it is another one at every call.
    """
    digest = blake2b(json.dumps(processor.settings(), sort_keys=True).encode(), digest_size=16)
    encoder_tokenizer, codes = processor.encoder_tokenizer, processor.language_codes
    if codes:
        encoder_tokenizer.src_lang = next(iter(codes.values()))
    for tokenizer in (encoder_tokenizer, processor.tokenizer):
        tokenizer("0")  # so that nothing is left of earlier calls, such as a length limit
        fast = tokenizer.is_fast
        digest.update(tokenizer.backend_tokenizer.to_str().encode() if fast else os.urandom(16))
    digest.update(str(processor.tokenizer.eos_token_id).encode())
    return digest.hexdigest()
