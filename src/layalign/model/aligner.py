"""Layer-wise aligner: every encoder layer into one key and one value state per LLM layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from layalign.errors import ShapeError
from layalign.model.config import LayAlignConfig


def linear_as(layer: nn.Linear, x: Tensor) -> Tensor:
    """Apply ``layer`` in the dtype of ``x``.

    Trained parameters stay in float32 beside bfloat16 backbones; casting the weight for the
    product keeps the activations small and the gradient exact up to that rounding.
    """
    bias = None if layer.bias is None else layer.bias.to(x.dtype)
    return F.linear(x, layer.weight.to(x.dtype), bias)


class LayerWiseAligner(nn.Module):
    """Mix all chosen encoder layers into one key and one value state for each LLM layer.

    Each of the ``2 * n_fused`` slots has its own weighting over the encoder layers; one
    projection, shared by all slots, then changes the width; there may be a further layer before it.
    With ``config.encoder_mean`` a slot weighs the mean of the encoder layers alone. Slots are
    interleaved: entry ``i`` of ``config.language_layers`` gets slot ``2i`` for keys and ``2i + 1``
    for values.

    Source: LayAlign (Ruan et al., Findings of NAACL 2025), section 3.1, layer-wise aligner.

    Args:
        config: Sizes and the kind of aligner (``"linear"`` or ``"mlp"``), ``aligner_width``.
    """

    def __init__(self, config: LayAlignConfig) -> None:
        """Create the mixing and projection layers."""
        super().__init__()
        self.n_states, self.mean = len(config.encoder_layers), config.encoder_mean
        self.d_enc, width = config.d_enc, config.aligner_width
        self.mix = nn.Linear(config.n_mixed, 2 * len(config.language_layers))
        self.widen = nn.Linear(config.d_enc, width) if width is not None else None
        self.project = nn.Linear(width or config.d_enc, config.d_llm)
        self.refine = nn.Linear(config.d_llm, config.d_llm) if config.aligner == "mlp" else None

    @property
    def last(self) -> nn.Linear:
        """The layer that gives the states; nothing but the LLM's projections comes after it."""
        return self.project if self.refine is None else self.refine

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Align the layers of one batch.

        Args:
            hidden_states: ``(batch, n_enc_used, enc_len, d_enc)``, in the order of
                ``config.encoder_layers``.

        Returns:
            ``(batch, n_fused, 2, enc_len, d_llm)``; on axis 2, 0 is keys and 1 is values.

        Raises:
            ShapeError: The number of layers or the width differs from the config.
        """
        states = linear_as(self.last, self.before_last(hidden_states))
        aligned: Tensor = states.transpose(0, 1).unflatten(1, (-1, 2))
        return aligned

    def before_last(self, hidden_states: Tensor) -> Tensor:
        """All but the :attr:`last` layer.

        Args:
            hidden_states: As in :meth:`forward`; fastest if the axis of the layers is the outermost
                one in memory.

        Returns:
            ``(2 * n_fused, batch, enc_len, width)``, contiguous.

        Raises:
            ShapeError: The number of layers or the width differs from the config.
        """
        if hidden_states.dim() != 4 or hidden_states.shape[1::2] != (self.n_states, self.d_enc):
            raise ShapeError(
                f"aligner expects (batch, {self.n_states}, enc_len, {self.d_enc}), got "
                f"{tuple(hidden_states.shape)}; check encoder_layers in the config"
            )
        layers = hidden_states.transpose(0, 1)
        if self.mean:
            layers = layers.mean(0, keepdim=True)
        weight, bias = (p.to(layers.dtype) for p in (self.mix.weight, self.mix.bias))
        # In place wherever a gradient does not need what was there: these are the largest tensors.
        mixed = torch.addmm(bias[:, None], weight, layers.flatten(1)).relu_()
        mixed = mixed.unflatten(1, layers.shape[1:])
        for layer in (self.widen, None if self.refine is None else self.project):
            mixed = mixed if layer is None else linear_as(layer, mixed).relu_()
        return mixed
