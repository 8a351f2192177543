"""Floating-point operations of a training, estimated from tokens and parameters.

A token costs 2 operations a parameter forwards, 2 more where gradients pass through to what is
before, and 2 more where the parameter itself is trained: 6 in all for what is trained, 4 for the
frozen language model behind soft tokens, 2 for the frozen encoder. The aligner's layers work for
keys and values of every fused layer, and the language model's frozen projections of keys and values
read what it gives. Embeddings are looked up and cost nothing; an output head counts, tied or not.
Attention scores are left out.

Source: Kaplan et al., Scaling Laws for Neural Language Models (arXiv 2001.08361), section 2.1, for
what is trained.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from layalign.model import LayAlignConfig, LayAlignModel
from layalign.train.footprint import heads_width

_FORWARD, _THROUGH, _TRAINED = 2, 4, 6


@dataclass(frozen=True, kw_only=True)
class TokenCosts:
    """Operations of one training token."""

    encoder: float
    """Of an encoder token: the encoder, and what is between it and the language model."""

    language_model: float
    """Of a position of the language model, soft tokens included."""

    head: float = 0.0
    """Of them the output head's, which works only where something is to be predicted."""

    has_soft_tokens: bool = True
    """Whether the language model reads every encoder token as a soft token."""

    def of(self, batch: Mapping[str, Any]) -> float:
        """Operations of a batch, padding left out.

        Args:
            batch: Its masks are read: ``attention_mask`` and, with an encoder,
                ``encoder_attention_mask``.
        """
        encoder, text = (
            int(batch[name].sum()) if name in batch else 0
            for name in ("encoder_attention_mask", "attention_mask")
        )
        positions = text + (encoder if self.has_soft_tokens else 0)
        return encoder * self.encoder + positions * self.language_model


def token_costs(model: nn.Module, trained: Collection[str]) -> TokenCosts:
    """Operations of one token.

    Args:
        model: A :class:`layalign.model.LayAlignModel`, or a language model alone.
        trained: Names of the parameters that are trained.
    """
    joined = model if isinstance(model, LayAlignModel) else None
    language_model: Any = model if joined is None else joined.language_model
    head = language_model.get_output_embeddings().weight
    looked_up = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)} - {id(head)}
    names, costs = set(trained), dict.fromkeys(("encoder", "language_model", "head"), 0.0)
    for name, parameter in model.named_parameters():
        if id(parameter) in looked_up:
            continue
        part = "language_model" if joined is None else name.split(".")[0]
        frozen = _FORWARD if part == "encoder" else _THROUGH
        side = "language_model" if part == "language_model" else "encoder"
        uses = 1 if joined is None else _uses(joined.config, name)
        cost = (_TRAINED if name in names else frozen) * uses * parameter.numel()
        costs[side] += cost
        costs["head"] += cost if parameter is head else 0
    if joined is not None:
        costs["encoder"] += _THROUGH * _projections(joined.config)
    return TokenCosts(
        encoder=costs["encoder"],
        language_model=costs["language_model"],
        head=costs["head"],
        has_soft_tokens=joined is not None and joined.adapter is not None,
    )


def _uses(config: LayAlignConfig, name: str) -> int:
    """How often a parameter works for one token."""
    part, layer, *_ = [*name.split("."), ""]
    if part != "aligner":
        return 1
    # The mixing has a weight for each slot already, and uses it for every number of a state.
    return config.d_enc if layer == "mix" else 2 * len(config.language_layers)


def _projections(config: LayAlignConfig) -> int:
    """Weights of the language model's projections that read the aligned states."""
    width = heads_width(config.text_config, "num_key_value_heads")
    return 2 * len(config.language_layers) * config.d_llm * width
