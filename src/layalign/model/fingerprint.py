"""Hashes of weights: of a backbone a short one, of what was trained one of every bit."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

_SAMPLES = 8  # values hashed per parameter; enough to tell any two trainings apart


def fingerprint(model: nn.Module) -> str:
    """Hash a few values of every parameter, so that other weights are recognised.

    Values are compared after rounding to bfloat16, so a model loaded in bfloat16 and the same
    model in float32 agree. Empty for weights that cannot be read (meta device, quantised).
    """
    return fingerprint_of(sorted(model.named_parameters()))


def fingerprint_of(parameters: Iterable[tuple[str, Tensor]]) -> str:
    """The :func:`fingerprint` of a model with these parameters, sorted by name."""
    digest = hashlib.sha256()
    for name, parameter in parameters:
        if not _is_readable(parameter):
            return ""
        flat = parameter.detach().reshape(-1)
        steps = torch.linspace(0, max(flat.numel() - 1, 0), _SAMPLES, dtype=torch.float64)
        picked = flat[steps.long().to(flat.device)] if flat.numel() else flat
        digest.update(f"{name} {tuple(parameter.shape)} ".encode())
        digest.update(picked.to("cpu", torch.bfloat16).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def checksum(weights: Mapping[str, Tensor]) -> str:
    """Hash every bit of some weights, on whatever device they are."""
    digest = hashlib.sha256()
    for name, weight in sorted(weights.items()):
        digest.update(f"{name} {tuple(weight.shape)} {weight.dtype} ".encode())
        # A copy: memory that NumPy has seen can no longer be freed by FSDP.
        flat = weight.detach().cpu().reshape(-1).clone()
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _is_readable(parameter: Tensor) -> bool:
    """Whether there are plain numbers; quantised ones are integers, or of a class of their own."""
    is_plain = type(parameter) in (Tensor, nn.Parameter)
    return is_plain and not parameter.is_meta and parameter.is_floating_point()
