"""Tensors of which every process holds a part: whole ones for files, parts for models.

FSDP2 (``torch.distributed.fsdp.fully_shard``) keeps parameters, gradients and moments as
``DTensor``. In files there are only whole tensors, so that whatever was trained one way can be gone
on with another way.
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
    return distributed.is_available() and isinstance(value, DTensor)


def is_sharded(model: nn.Module) -> bool:
    """Whether a model is spread over the processes, so that none can use it alone."""
    return any(map(is_part, model.parameters()))


def whole(value: Tensor) -> Tensor:
    """The whole of a tensor; where it is spread, all processes have to ask for it."""
    found: Tensor = value.full_tensor() if is_part(value) else value  # type: ignore[attr-defined]
    return found


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


def check_deepspeed(accelerator: Any, folder: Path, *, resumes: bool) -> None:
    """See that DeepSpeed can do what is asked of it.

    Args:
        accelerator: Of the trainer.
        folder: Of the stage.
        resumes: Whether the stage has begun.

    Raises:
        ConfigError: It cannot.
    """
    instead = "use FSDP2 (recipes/accelerate/fsdp2.yaml), which spreads the same"
    if accelerator.state.deepspeed_plugin.zero_stage == 3:
        raise ConfigError(
            "ZeRO-3 shows parameters to the module that owns them alone, but the aligner has some "
            f"that are read elsewhere too; {instead}, or ZeRO-2"
        )
    if resumes:
        raise ConfigError(
            f"{folder} has begun, and DeepSpeed keeps the optimiser's moments to itself, in files "
            f"that only code can read; {instead}, or delete {folder} to train this stage again"
        )


def take_from_main(model: nn.Module, names: tuple[str, ...]) -> None:
    """Give parameters the values that they have in the main process."""
    if processes.count() > 1:
        for name in names:
            distributed.broadcast(model.get_parameter(name).data, src=0)
