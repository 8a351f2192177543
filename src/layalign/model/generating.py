"""What transformers' ``generate`` is told beside what a caller asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import (
    GenerationConfig,
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
)


def with_own_penalty(arguments: Mapping[str, Any], settings: GenerationConfig) -> dict[str, Any]:
    """Let a repetition penalty count all new tokens of every row.

    In a padded row transformers' own overlooks as many new tokens as there is padding, if the
    prompt is given as embeddings, so that answers would depend on the rest of the batch.

    Args:
        arguments: Of ``generate``.
        settings: What holds where the arguments say nothing.
    """
    settings = arguments.get("generation_config") or settings
    penalty = arguments.get("repetition_penalty", settings.repetition_penalty)
    if penalty in (None, 1.0):
        return dict(arguments)
    own = RepetitionPenaltyLogitsProcessor(float(penalty))
    processors = LogitsProcessorList([own, *(arguments.get("logits_processor") or ())])
    return {**arguments, "repetition_penalty": 1.0, "logits_processor": processors}
