"""Token ids of several examples as one padded tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def pad_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return an id to pad with; which one does not matter, because pads are masked."""
    candidates = (tokenizer.pad_token_id, tokenizer.eos_token_id, 0)
    return int(next(i for i in candidates if i is not None))


def pad_rows(
    rows: Sequence[Sequence[int]], value: int, *, left: bool = False
) -> tuple[Tensor, Tensor]:
    """Pad rows to the longest.

    Args:
        rows: Token ids, or labels.
        value: What to pad with.
        left: Pad in front instead of behind.

    Returns:
        The padded rows and their mask, 1 at real tokens, both ``(batch, longest)``.
    """
    width = max(len(row) for row in rows)
    ids = torch.full((len(rows), width), value, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        place = slice(width - len(row), None) if left else slice(len(row))
        ids[i, place] = torch.tensor(row, dtype=torch.long)
        mask[i, place] = 1
    return ids, mask
