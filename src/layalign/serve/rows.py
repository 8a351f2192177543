"""The rows of a running batch: what the language model remembers of each, and how rows join it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import DynamicCache, PreTrainedConfig, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from layalign.errors import BackboneError
from layalign.eval.systems import BareLLM, BatchedSystem, Feature, LayAlignSystem
from layalign.model.sequence import kept_positions

ENC_AXIS = {"fusion_keys": 3, "fusion_values": 3, "fusion_mask": 1}
"""The axis that runs over the encoder's tokens; the first axis of each runs over the rows."""


@dataclass
class Rows:
    """Requests under way together, padded on the left of the text and the right of the encoder.

    A row computes what it would alone: padding is masked, and positions are counted without it.
    """

    cache: DynamicCache
    """Keys and values of every layer, ``(rows, n_kv_heads, seq_len, d_head)``."""

    mask: Tensor
    """``(rows, seq_len)``, 1 at the positions that have been read."""

    fusion: dict[str, Tensor]
    """``fusion_keys``, ``fusion_values`` and ``fusion_mask`` of :meth:`LayAlignModel.encode`; empty
    where the language model reads no encoder."""

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.mask)

    def select(self, rows: Sequence[int]) -> Rows:
        """Keep these rows, and no more columns than they need."""
        index = torch.tensor(rows, device=self.mask.device)
        mask = self.mask[index]
        cut = mask.shape[1] - int(mask.sum(1).max())
        fusion = {name: tensor[index] for name, tensor in self.fusion.items()}
        if fusion:
            longest = int(fusion["fusion_mask"].sum(1).max())
            fusion = {n: t.narrow(ENC_AXIS[n], 0, longest) for n, t in fusion.items()}
        cache = _cache(
            (keys[index][:, :, cut:], values[index][:, :, cut:])
            for keys, values in _states(self.cache)
        )
        return Rows(cache, mask[:, cut:], fusion)

    def join(self, others: Rows) -> Rows:
        """Put further rows below these."""
        seq_len = max(self.mask.shape[1], others.mask.shape[1])
        mask = torch.cat([_pad(rows.mask, 1, seq_len, left=True) for rows in (self, others)])
        cache = _cache(
            (_join(keys, more_keys, 2, left=True), _join(values, more_values, 2, left=True))
            for (keys, values), (more_keys, more_values) in zip(
                _states(self.cache), _states(others.cache), strict=True
            )
        )
        fusion = {
            name: _join(tensor, others.fusion[name], ENC_AXIS[name])
            for name, tensor in self.fusion.items()
        }
        return Rows(cache, mask, fusion)

    def step(self, model: PreTrainedModel, tokens: Sequence[int]) -> Tensor:
        """Read one more token in every row.

        If the model fails, the rows are left as they were.

        Args:
            model: What has read the rows so far.
            tokens: One a row.

        Returns:
            Logits of what follows, ``(rows, vocabulary)``.
        """
        before = _states(self.cache)
        mask = F.pad(self.mask, (0, 1), value=1)
        try:
            logits: Tensor = model(
                input_ids=torch.tensor(tokens, device=mask.device)[:, None],
                attention_mask=mask,
                position_ids=mask.sum(1, keepdim=True) - 1,
                past_key_values=self.cache,
                use_cache=True,
                **self.fusion,
            ).logits[:, -1]
        except Exception:
            self.cache = _cache(before)
            raise
        self.mask = mask
        return logits


def begin(system: BatchedSystem, features: Sequence[Feature]) -> tuple[Rows, Tensor]:
    """Let a system read prompts.

    Args:
        system: LayAlign or the bare language model.
        features: The prompts' ids.

    Returns:
        The rows, and the logits of what follows each prompt, ``(rows, vocabulary)``.
    """
    given = _given(system, list(features))
    mask, cache = given["attention_mask"], DynamicCache()
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    output = system.model(
        **given,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=kept_positions(1, mask),
    )
    fusion = {name: given[name] for name in ENC_AXIS if name in given}
    return Rows(cache, mask, fusion), output.logits[:, -1]


def prompt_length(system: BatchedSystem, feature: Mapping[str, Sequence[int]]) -> int:
    """Positions that the language model reads of a prompt: text, soft tokens, BOS, boundary."""
    length = len(feature["input_ids"])
    if isinstance(system, LayAlignSystem):
        config = system.model.config
        length += config.bos_token_id is not None
        if config.adapter != "none":
            length += len(feature["encoder_input_ids"]) + 1
    return length


def check_cache(config: PreTrainedConfig) -> None:
    """Refuse language models that remember something else than keys and values.

    Raises:
        BackboneError: It is one of those, and its rows could not be joined.
    """
    kinds = {type(layer) for layer in DynamicCache(config=config).layers}
    if strange := kinds - {DynamicLayer, DynamicSlidingWindowLayer}:
        names = ", ".join(sorted(kind.__name__ for kind in strange))
        raise BackboneError(
            f"language model family {config.model_type!r} keeps a cache of its own kind ({names}), "
            "whose rows cannot be joined to a running batch; use layalign generate"
        )


def _given(system: BatchedSystem, features: list[Feature]) -> dict[str, Tensor]:
    """What the language model reads; the encoder and all between run here."""
    if isinstance(system, BareLLM):
        return system.batch(features)
    assert isinstance(system, LayAlignSystem)
    batch = system.processor.pad(features).to(system.model.device)
    given = system.model.assemble(**batch)
    if "fusion_keys" in given:  # also where padding is attended to: a row alone would have none
        given["fusion_mask"] = batch["encoder_attention_mask"].bool()
    return given


def _states(cache: DynamicCache) -> list[tuple[Tensor, Tensor]]:
    layers: list[Any] = cache.layers  # all of them hold keys and values: see check_cache
    return [(layer.keys, layer.values) for layer in layers]


def _cache(states: Iterable[tuple[Tensor, Tensor]]) -> DynamicCache:
    cache = DynamicCache()
    for layer, (keys, values) in enumerate(states):
        cache.update(keys, values, layer)
    return cache


def _join(above: Tensor, below: Tensor, axis: int, *, left: bool = False) -> Tensor:
    size = max(above.shape[axis], below.shape[axis])
    return torch.cat([_pad(tensor, axis, size, left=left) for tensor in (above, below)])


def _pad(tensor: Tensor, axis: int, size: int, *, left: bool = False) -> Tensor:
    """Fill an axis up with zeros."""
    missing = size - tensor.shape[axis]
    behind = 2 * (tensor.dim() - 1 - axis)
    return F.pad(tensor, [0] * behind + ([missing, 0] if left else [0, missing]))
