"""How long a stage takes on some devices, under every strategy."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from layalign.errors import ConfigError
from layalign.planning.devices import Device
from layalign.planning.strategies import (
    DeviceMemory,
    Gathered,
    Share,
    gathered,
    strategies,
)
from layalign.planning.work import ExampleWork, example_work, mean_lengths, moved_bytes
from layalign.train.footprint import Memory, arithmetic_size
from layalign.train.planned_stage import PlannedStage

USABLE = 0.95  # of a device's memory: libraries and fragments take the rest
_UPDATE = 7  # numbers that AdamW reads and writes for each parameter


@dataclass(frozen=True, kw_only=True)
class Setup:
    """Where a training would run, and what is assumed of it."""

    device: Device

    devices: int = 1
    """How many of them."""

    utilisation: float = 0.6
    """Share of the device's peak that large matrix products reach by themselves."""

    price: float = 1.0
    """Of one device for an hour, in any currency."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.devices < 1:
            raise ConfigError(f"gpus is {self.devices}; expected at least 1")
        if not 0 < self.utilisation <= 1:
            raise ConfigError(f"utilisation is {self.utilisation}; expected above 0 and up to 1")
        if self.price < 0:
            raise ConfigError(f"price is {self.price}; expected 0 or more")


@dataclass(frozen=True, kw_only=True)
class StrategyEstimate:
    """A stage under one strategy."""

    strategy: str
    label: str

    memory: DeviceMemory
    """Of each device, for a pass over the longest examples."""

    fits: bool
    """Whether the device has that much."""

    compute_seconds: float
    """Of one update, for examples of mean length."""

    communication_seconds: float
    """Of one update; taken to run beside the computation."""

    hours: float | None
    """Of the stage; None if nothing says how long it is."""

    cost: float | None
    """Of the stage, in the currency of the price."""

    mfu: float
    """Share of the peak of all devices that the model's operations make up, from 0 to 1."""

    @property
    def seconds(self) -> float:
        """Of one update."""
        return max(self.compute_seconds, self.communication_seconds)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "memory": self.memory.to_dict(), "seconds_per_update": self.seconds}


@dataclass(frozen=True, kw_only=True)
class StageEstimate:
    """A stage under every strategy."""

    name: str

    mean: tuple[float, float, float]
    """Tokens of an example in encoder, prompt and target."""

    tokens_from: str
    """``sample`` and ``given`` if these are means, ``lengths`` if they are the longest allowed."""

    examples: float | None
    """That the stage reads; None if nothing says how many."""

    operations_per_example: float
    flops: float | None
    """Of the stage, without what gradient checkpointing repeats."""

    strategies: list[StrategyEstimate]

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        rows = [row.to_dict() for row in self.strategies]
        return {**asdict(self), "mean": list(self.mean), "strategies": rows}


def estimate_stage(stage: PlannedStage, setup: Setup, *, dtype: str) -> StageEstimate:
    """Estimate memory and time of a stage.

    A device's update takes the longer of two times. The one is that of its passes: operations over
    ``utilisation`` of the peak, and what they move between memory and cores over its bandwidth. The
    other is what it sends over the interconnect.

    Args:
        stage: One with a model.
        setup: The devices.
        dtype: Type that the backbones are loaded in, as in a recipe.

    Raises:
        ConfigError: The batch cannot be divided among the devices.
    """
    longest = stage.memory(stage.longest, dtype)
    mean = stage.memory(mean_lengths(stage), dtype)
    assert stage.model is not None
    assert longest is not None
    assert mean is not None
    work = example_work(stage)
    examples = _examples(stage, work)
    size = arithmetic_size(stage.config, stage.model.config.get_text_config(), dtype)
    weights = gathered(stage.model, size)
    share = Share(devices=setup.devices, passes=stage.config.passes_of_each(setup.devices))
    peak = setup.device.peak(size)
    compute = _pass_seconds(stage, setup, work, mean, weights) * share.passes
    rows = []
    for strategy in strategies(setup.devices):
        memory = strategy.memory(longest, weights, share)
        update = _UPDATE * memory.gradients / setup.device.bandwidth
        sent = strategy.sent(longest, weights, share) / setup.device.interconnect
        seconds = max(compute + update, sent)
        hours = _hours(stage, examples, seconds)
        rows.append(
            StrategyEstimate(
                strategy=strategy.name,
                label=strategy.label,
                memory=memory,
                fits=memory.total <= USABLE * setup.device.memory,
                compute_seconds=compute + update,
                communication_seconds=sent,
                hours=hours,
                cost=None if hours is None else hours * setup.devices * setup.price,
                mfu=stage.config.batch_size * work.operations / (seconds * setup.devices * peak),
            )
        )
    return StageEstimate(
        name=stage.name,
        mean=stage.mean,
        tokens_from=stage.tokens_from,
        examples=examples,
        operations_per_example=work.operations,
        flops=None if examples is None else examples * work.operations,
        strategies=rows,
    )


def _pass_seconds(
    stage: PlannedStage, setup: Setup, work: ExampleWork, mean: Memory, weights: Gathered
) -> float:
    operations = stage.config.examples_per_forward * (work.operations + work.repeated)
    moved = moved_bytes(mean.activations, weights.encoder + 2 * weights.rest)
    rate = setup.utilisation * setup.device.peak(weights.size)
    return operations / rate + moved / setup.device.bandwidth


def _examples(stage: PlannedStage, work: ExampleWork) -> float | None:
    """Examples until the first limit that counts work."""
    flops = stage.limits.flops
    counts = [stage.examples_read, None if flops is None else flops / work.operations]
    return min((count for count in counts if count is not None), default=None)


def _hours(stage: PlannedStage, examples: float | None, seconds: float) -> float | None:
    ends = [
        None if examples is None else examples / stage.config.batch_size * seconds,
        stage.limits.seconds,
    ]
    first = min((end for end in ends if end is not None), default=None)
    return None if first is None else first / 3600
