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
    Strategy,
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
    assert stage.model is not None
    longest, mean = (stage.memory(x, dtype) for x in (stage.longest, mean_lengths(stage)))
    assert longest is not None
    assert mean is not None
    size = arithmetic_size(stage.config, stage.model.config.get_text_config(), dtype)
    load = _Load(
        stage=stage,
        setup=setup,
        work=example_work(stage),
        longest=longest,
        mean=mean,
        weights=gathered(stage.model, size),
        share=Share(devices=setup.devices, passes=stage.config.passes_of_each(setup.devices)),
    )
    examples = load.examples
    return StageEstimate(
        name=stage.name,
        mean=stage.mean,
        tokens_from=stage.tokens_from,
        examples=examples,
        operations_per_example=load.work.operations,
        flops=None if examples is None else examples * load.work.operations,
        strategies=[load.under(strategy) for strategy in strategies(setup.devices)],
    )


@dataclass(frozen=True, kw_only=True)
class _Load:
    """All that the estimates of a stage share."""

    stage: PlannedStage
    setup: Setup
    work: ExampleWork
    longest: Memory
    mean: Memory
    weights: Gathered
    share: Share

    @property
    def peak(self) -> float:
        """Operations a second of one device."""
        return self.setup.device.peak(self.weights.size)

    @property
    def examples(self) -> float | None:
        """Examples until the first limit that counts work."""
        flops = self.stage.limits.flops
        counts = [self.stage.examples_read, None if flops is None else flops / self.work.operations]
        return min((count for count in counts if count is not None), default=None)

    @property
    def pass_seconds(self) -> float:
        """Of one forward and backward pass."""
        operations = self.work.operations + self.work.repeated
        operations *= self.stage.config.examples_per_forward
        read = self.weights.encoder + 2 * self.weights.rest
        moved = moved_bytes(self.mean.activations, read)
        return (
            operations / (self.setup.utilisation * self.peak) + moved / self.setup.device.bandwidth
        )

    def under(self, strategy: Strategy) -> StrategyEstimate:
        """The stage under a strategy."""
        setup, shared = self.setup, (self.longest, self.weights, self.share)
        memory = strategy.memory(*shared)
        update = _UPDATE * memory.gradients / setup.device.bandwidth
        compute = self.share.passes * self.pass_seconds + update
        sent = strategy.sent(*shared) / setup.device.interconnect
        hours = self.hours(max(compute, sent))
        operations = self.stage.config.batch_size * self.work.operations
        return StrategyEstimate(
            strategy=strategy.name,
            label=strategy.label,
            memory=memory,
            fits=memory.total <= USABLE * setup.device.memory,
            compute_seconds=compute,
            communication_seconds=sent,
            hours=hours,
            cost=None if hours is None else hours * setup.devices * setup.price,
            mfu=operations / (max(compute, sent) * setup.devices * self.peak),
        )

    def hours(self, seconds: float) -> float | None:
        """Of the stage, if an update takes so many seconds; None if nothing says how long it is."""
        updates = None if self.examples is None else self.examples / self.stage.config.batch_size
        ends = [None if updates is None else updates * seconds, self.stage.limits.seconds]
        first = min((end for end in ends if end is not None), default=None)
        return None if first is None else first / 3600
