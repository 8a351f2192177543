"""Adapter: the last encoder layer into the LLM's embedding space, closed by a boundary."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from layalign.model.aligner import linear_as
from layalign.model.config import LayAlignConfig


class Adapter(nn.Module):
    """Map the encoder's last hidden state to soft prompt tokens and add the boundary embedding.

    Source: LayAlign (Ruan et al., Findings of NAACL 2025), section 3.1 and appendix A.4; the
    adapter has the form of MindMerger's. The linear one has the form of LangBridge's (Yoon et al.,
    arXiv 2401.10695).

    Args:
        config: Sizes and the kind of adapter (``"mlp"`` or ``"linear"``).
    """

    def __init__(self, config: LayAlignConfig) -> None:
        """Create the layers; the boundary starts at zero."""
        super().__init__()
        width = config.adapter_width if config.adapter == "mlp" else None
        self.linear1 = nn.Linear(config.d_enc, width or config.d_llm)
        self.linear2 = nn.Linear(width, config.d_llm) if width is not None else None
        self.boundary = nn.Parameter(torch.zeros(config.d_llm))

    def forward(self, last_hidden_state: Tensor) -> Tensor:
        """Compute the soft tokens, without the boundary.

        Args:
            last_hidden_state: ``(batch, enc_len, d_enc)``.

        Returns:
            ``(batch, enc_len, d_llm)``.
        """
        soft_tokens = linear_as(self.linear1, last_hidden_state)
        if self.linear2 is not None:
            soft_tokens = linear_as(self.linear2, F.relu(soft_tokens))
        return soft_tokens
