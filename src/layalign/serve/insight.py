"""What LayAlign made of one question: which layers used the encoder, and which of its tokens."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from layalign.analysis.weights import Weights
from layalign.eval.systems import Feature, LayAlignSystem

MOST_TOKENS = 64
"""Tokens of the encoder that are looked at one by one."""

_ROWS = 16
_DIGITS = 4


class _Shares:
    """Watches a forward pass: the part of each fused layer's output that is cross attention."""

    def __init__(self) -> None:
        self.shares: dict[int, float] = {}

    def __call__(self, layer: int, self_attention: Tensor, cross_attention: Tensor) -> None:
        norms = [term.flatten(2).float().norm(dim=-1) for term in (self_attention, cross_attention)]
        share = norms[1] / (norms[0] + norms[1]).clamp(min=1e-12)
        self.shares[layer] = round(float(share.mean()), _DIGITS)


def insight(system: LayAlignSystem, feature: Feature, weights: Weights) -> dict[str, Any]:
    """Look at a question before it is answered.

    Args:
        system: LayAlign.
        feature: The question's ids.
        weights: The checkpoint's mixing weights.

    Returns:
        ``tokens`` of the encoder and how much each is ``used``: the share of the next token's
        probability (0 to 1) that moves elsewhere when the language model cannot see it, neither
        as soft token nor in the cross attention. ``more`` tokens were not looked at. ``layers`` of
        the language model and the ``shares`` (0 to 1) of the cross attention in what each one's
        attention adds, mean over the positions. ``encoder_layers`` and their ``mixing`` weights in
        the keys of each layer.
    """
    model, processor = system.model, system.processor
    watch = _Shares()
    with system.evaluating():
        given = model.assemble(**processor.pad([feature]).to(model.device))
        watched = {"fusion_watch": watch} if model.config.language_layers else {}
        whole = model(**given, logits_to_keep=1, **watched).logits[:, -1].float().softmax(-1)
        count = min(len(feature["encoder_input_ids"]), MOST_TOKENS)
        used = [
            value
            for start in range(0, count, _ROWS)
            for value in _changes(system, given, whole, range(start, min(start + _ROWS, count)))
        ]
    ids = feature["encoder_input_ids"][:count]
    return {
        "tokens": [processor.encoder_tokenizer.decode([token]) for token in ids],
        "used": used,
        "more": len(feature["encoder_input_ids"]) - count,
        "layers": list(watch.shares),
        "shares": list(watch.shares.values()),
        "encoder_layers": weights.encoder_layers,
        "mixing": [] if weights.keys is None else weights.keys.round(_DIGITS).tolist(),
    }


def _changes(
    system: LayAlignSystem, given: dict[str, Tensor], whole: Tensor, hidden: range
) -> list[float]:
    """How far the next token's distribution moves when each of these encoder tokens is hidden."""
    config = system.model.config
    rows = {name: tensor.repeat_interleave(len(hidden), 0) for name, tensor in given.items()}
    positions = (rows["attention_mask"].cumsum(-1) - 1).clamp(min=0)  # as if nothing were hidden
    first = int(config.bos_token_id is not None)
    if "fusion_keys" in rows and "fusion_mask" not in rows:
        shape = rows["fusion_keys"].shape
        rows["fusion_mask"] = torch.ones(shape[0], shape[3], dtype=torch.bool, device=whole.device)
    for row, token in enumerate(hidden):
        if "fusion_mask" in rows:
            rows["fusion_mask"][row, token] = False
        if config.adapter != "none":
            rows["attention_mask"][row, first + token] = 0
    logits = system.model(**rows, position_ids=positions, logits_to_keep=1).logits[:, -1]
    moved = (logits.float().softmax(-1) - whole).abs().sum(-1) / 2
    return [round(value, _DIGITS) for value in moved.tolist()]
