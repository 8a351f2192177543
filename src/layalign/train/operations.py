"""Floating-point operations of a training, estimated from tokens and parameters.

A token costs 2 operations a parameter forwards, 2 more where gradients pass through to what is
before, and 2 more where the parameter itself is trained: 6 in all for what is trained, 4 for the
frozen language model behind soft tokens, 2 for the frozen encoder. Embeddings are looked up and
cost nothing, and neither do, in this estimate, attention scores and the layers' mixing.

Source: Kaplan et al., Scaling Laws for Neural Language Models (arXiv 2001.08361), section 2.1, for
what is trained.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

_FORWARD, _THROUGH, _TRAINED = 2, 4, 6


@dataclass(frozen=True, kw_only=True)
class TokenCosts:
    """Operations of one training token."""

    encoder: float
    """Of an encoder token: the encoder, and what is between it and the language model."""

    language_model: float
    """Of a position of the language model, soft tokens included."""

    def of(self, batch: Mapping[str, Any]) -> float:
        """Operations of a batch, padding left out.

        Args:
            batch: Its masks are read: ``attention_mask`` and, with an encoder,
                ``encoder_attention_mask``, whose tokens the language model reads as soft tokens.
        """
        encoder, text = (
            int(batch[name].sum()) if name in batch else 0
            for name in ("encoder_attention_mask", "attention_mask")
        )
        return encoder * self.encoder + (encoder + text) * self.language_model


def token_costs(model: nn.Module, trained: Collection[str]) -> TokenCosts:
    """Operations of one token.

    Args:
        model: A :class:`layalign.model.LayAlignModel`, or a language model alone.
        trained: Names of the parameters that are trained.
    """
    is_joined = hasattr(model, "encoder") and hasattr(model, "language_model")
    looked_up = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    names, costs = set(trained), {"encoder": 0.0, "language_model": 0.0}
    for name, parameter in model.named_parameters():
        if id(parameter) in looked_up:
            continue
        part = name.split(".")[0] if is_joined else "language_model"
        frozen = _FORWARD if part == "encoder" else _THROUGH
        side = "language_model" if part == "language_model" else "encoder"
        costs[side] += (_TRAINED if name in names else frozen) * parameter.numel()
    return TokenCosts(**costs)
