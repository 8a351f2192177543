"""The learned weights of a checkpoint that can be read as numbers: mixing and gates."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from layalign.errors import CheckpointError
from layalign.eval.provenance import is_language_model

if TYPE_CHECKING:
    from torch import Tensor

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Weights:
    """What the layer-wise aligner and the gates of a checkpoint have learned.

    With ``aligner: none`` the lists are empty and there are no arrays.
    """

    encoder_layers: list[int]
    """Encoder states that are mixed; 0 is the embedding output."""

    language_layers: list[int]
    """Fused layers of the language model, counted from 0."""

    gates: list[float]
    """One number a fused layer: the gate, or the mean of the gates of its heads. NaN where the gate
    depends on the hidden state, so that no one number says it."""

    keys: Array | None
    """``(n_fused, n_enc_used)``: weight of each encoder state in the keys of each fused layer."""

    values: Array | None
    """The same for the values."""

    gate: str = "scalar"
    """Kind of the gates: ``scalar``, ``head`` or ``hidden``."""


def read_weights(checkpoint: str | PathLike[str]) -> Weights:
    """Read the mixing weights and the gates of a checkpoint, without its backbones.

    Where the aligner is fed by the mean of the encoder layers there is one weight a slot, and it
    stands in a single column.

    Args:
        checkpoint: Folder, hub id or name of a shipped checkpoint.

    Raises:
        CheckpointError: There is no checkpoint of LayAlign in that place, or it is damaged.
    """
    from layalign.model.checkpoint import find_folder, read_config
    from layalign.model.checkpoint import read_weights as read_trained

    folder = find_folder(checkpoint)
    if is_language_model(folder):
        raise CheckpointError(
            f"{str(checkpoint)!r} is a plain language model; expected a checkpoint of LayAlign, "
            "which has an aligner and gates"
        )
    config = read_config(folder)
    trained = read_trained(folder)
    slots = _slots(trained, folder)
    return Weights(
        encoder_layers=list(config.encoder_layers),
        language_layers=list(config.language_layers),
        gates=_gates(trained),
        keys=None if slots is None else slots[:, 0].copy(),
        values=None if slots is None else slots[:, 1].copy(),
        gate=config.gate,
    )


def _slots(trained: dict[str, Tensor], folder: Path) -> Array | None:
    """Mixing weights, ``(n_fused, 2, n_mixed)``."""
    mix = trained.get("aligner.mix.weight")
    if mix is None:
        return None
    if mix.dim() != 2 or len(mix) % 2:
        raise CheckpointError(
            f"{folder}: aligner.mix.weight has shape {tuple(mix.shape)}, expected (2 * n_fused, "
            "n_mixed); copy the checkpoint again or use an earlier one"
        )
    slots: Array = mix.float().numpy().reshape(-1, 2, mix.shape[1])
    return slots


def _gates(trained: dict[str, Tensor]) -> list[float]:
    if "gates" not in trained:
        return []
    gates = trained["gates"].float()
    if any(name.startswith("gate_") for name in trained):  # a map from the hidden state
        return [float("nan")] * len(gates)
    return [float(gate) for gate in gates.reshape(len(gates), -1).mean(1)]
