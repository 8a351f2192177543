"""What a recipe would take on GPUs that are not here: memory, hours and cost."""

from layalign.planning.devices import DEVICES, Device, find_device
from layalign.planning.estimate import Setup, StageEstimate, StrategyEstimate, estimate_stage
from layalign.planning.plan import plan_training

__all__ = [
    "DEVICES",
    "Device",
    "Setup",
    "StageEstimate",
    "StrategyEstimate",
    "estimate_stage",
    "find_device",
    "plan_training",
]
