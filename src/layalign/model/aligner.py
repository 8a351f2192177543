"""Layer-wise aligner: every encoder layer into one key and one value state per LLM layer."""

from __future__ import annotations

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
        if hidden_states.dim() != 4 or hidden_states.shape[1::2] != (self.n_states, self.d_enc):
            raise ShapeError(
                f"aligner expects (batch, {self.n_states}, enc_len, {self.d_enc}), got "
                f"{tuple(hidden_states.shape)}; check encoder_layers in the config"
            )
        if self.mean:
            hidden_states = hidden_states.mean(1, keepdim=True)
        # As a product from the left the layer axis stays where it is, and nothing is transposed.
        weight, bias = (p.to(hidden_states.dtype) for p in (self.mix.weight, self.mix.bias))
        mixed = weight @ hidden_states.flatten(2) + bias[:, None]  # (batch, 2 n_fused, enc_len * d)
        mixed = F.relu(mixed).unflatten(2, hidden_states.shape[2:])
        if self.widen is not None:
            mixed = F.relu(linear_as(self.widen, mixed))
        states = linear_as(self.project, mixed)  # (batch, 2 n_fused, enc_len, d_llm)
        if self.refine is not None:
            states = linear_as(self.refine, F.relu(states))
        aligned: Tensor = states.unflatten(1, (-1, 2))
        return aligned
