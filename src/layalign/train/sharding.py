"""Tensors of which every process holds a part: whole ones for files, parts for models.

FSDP2 (``torch.distributed.fsdp.fully_shard``) keeps parameters, gradients and moments as
``DTensor``, DeepSpeed's ZeRO-3 empties parameters and marks them. In files there are only whole
tensors, so that whatever was trained one way can be gone on with another way.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn

from layalign import processes
from layalign.errors import ConfigError

if distributed.is_available():
    from torch.distributed.tensor import DTensor, distribute_tensor


def is_part(value: Any) -> bool:
    """Whether this process holds only a part of a tensor."""
    is_of_fsdp = distributed.is_available() and isinstance(value, DTensor)
    return is_of_fsdp or _is_of_zero3(value)


def is_sharded(model: nn.Module) -> bool:
    """Whether a model is spread over the processes, so that none can use it alone."""
    return any(map(is_part, model.parameters()))


def whole(value: Tensor) -> Tensor:
    """The whole of a tensor; where it is spread, all processes have to ask for it."""
    if _is_of_zero3(value):
        import deepspeed

        with deepspeed.zero.GatheredParameters([value]):
            return value.detach().clone()
    found: Tensor = value.full_tensor() if is_part(value) else value  # type: ignore[attr-defined]
    return found.detach()


def _is_of_zero3(value: Any) -> bool:
    return hasattr(value, "ds_id")


def part_like(value: Tensor, parameter: Tensor) -> Tensor:
    """A process's part of a whole tensor, cut as a parameter of the same shape is."""
    if not is_part(parameter) or value.shape != parameter.shape:
        return value
    mesh, placements = parameter.device_mesh, parameter.placements  # type: ignore[attr-defined]
    return distribute_tensor(value.to(parameter.device), mesh, placements)


def whole_optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """An optimiser's state with whole tensors, as it would be on one process."""
    found = optimizer.state_dict()
    state = {
        index: {name: whole(v) if isinstance(v, Tensor) else v for name, v in moments.items()}
        for index, moments in found["state"].items()
    }
    return {**found, "state": state}


def load_optimizer_state(optimizer: torch.optim.Optimizer, found: Mapping[str, Any]) -> None:
    """Put back what :func:`whole_optimizer_state` gave, however the parameters are spread now."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state = {
        index: {
            name: part_like(v, parameters[index]) if isinstance(v, Tensor) else v
            for name, v in moments.items()
        }
        for index, moments in found["state"].items()
    }
    optimizer.load_state_dict({**found, "state": state})


def refuse_to_resume(folder: Path) -> None:
    """Say that a stage that has begun cannot go on under DeepSpeed.

    Raises:
        ConfigError: Always.
    """
    raise ConfigError(
        f"{folder} has begun, and DeepSpeed keeps the optimiser's moments to itself, in files that "
        "only pickle can read; use FSDP2 (recipes/accelerate/fsdp2.yaml), which spreads the same, "
        f"or delete {folder} to train this stage again"
    )


def forget_deepspeed() -> None:
    """Let models be loaded whole again, which transformers does not while ZeRO-3 is set up."""
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    unset_hf_deepspeed_config()


def take_from_main(model: nn.Module, names: tuple[str, ...]) -> None:
    """Give parameters the values that they have in the main process."""
    if processes.count() > 1:
        for name in names:
            distributed.broadcast(model.get_parameter(name).data, src=0)
