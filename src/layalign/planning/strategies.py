"""Ways to share a training among devices: what each holds, and what they send each other."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from layalign.model import LayAlignModel
from layalign.train.footprint import Memory

_BUCKET = 500_000_000  # numbers that DeepSpeed reduces at once by default
_LIVE = 1_000_000_000  # parameters that its ZeRO-3 keeps gathered by default


@dataclass(frozen=True, kw_only=True)
class Share:
    """How a pass is shared."""

    devices: int
    passes: int
    """Forward passes of each device for one update."""

    @property
    def sent(self) -> float:
        """Share of a tensor that a ring of devices sends from each, to gather or to reduce it."""
        return (self.devices - 1) / self.devices


@dataclass(frozen=True, kw_only=True)
class Gathered:
    """Bytes of weights in the type that they are gathered in."""

    encoder: int
    rest: int
    """All but the encoder; these are needed in the backward pass too."""

    outside: int
    """Those outside of layers: embeddings, output head and what is trained between the models."""

    layer: int
    """The largest layer."""

    size: int
    """Of one number."""

    @property
    def total(self) -> int:
        """All of them."""
        return self.encoder + self.rest


@dataclass(frozen=True, kw_only=True)
class DeviceMemory(Memory):
    """Bytes on one device under a strategy."""

    buffers: int
    """Copies made to communicate: weights gathered for a while, gradients on their way."""

    @property
    def total(self) -> int:
        """Sum of all."""
        return super().total + self.buffers


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """A way to share a training.

    The base class is data parallelism (PyTorch's DistributedDataParallel): every device holds all,
    and the gradients of an update are summed once, through buckets that are as large as they are.
    """

    name: str
    label: str

    def memory(self, whole: Memory, weights: Gathered, share: Share) -> DeviceMemory:
        """What a device holds.

        Args:
            whole: What one device alone would hold.
            weights: The model's.
            share: Devices and passes.
        """
        buffers = whole.gradients if share.devices > 1 else 0
        return DeviceMemory(**asdict(whole), buffers=buffers)

    def sent(self, whole: Memory, weights: Gathered, share: Share) -> float:
        """Bytes that a device sends for one update. Args are those of :meth:`memory`."""
        return 2 * share.sent * whole.gradients


class _Zero2(Strategy):
    """DeepSpeed: gradients and moments are shared out; gradients are reduced after every pass."""

    def memory(self, whole: Memory, weights: Gathered, share: Share) -> DeviceMemory:
        return DeviceMemory(
            weights=whole.weights,
            gradients=whole.gradients // share.devices,
            optimizer=whole.optimizer // share.devices,
            activations=whole.activations,
            buffers=_bucket(whole),
        )

    def sent(self, whole: Memory, weights: Gathered, share: Share) -> float:
        return share.sent * whole.gradients * (share.passes + 1)


class _Sharded(Strategy):
    """Everything is shared out; weights are gathered layer by layer, forwards and backwards."""

    def _sent_weights(self, weights: Gathered, share: Share) -> float:
        return share.sent * share.passes * (weights.encoder + 2 * weights.rest)

    def _shared(self, whole: Memory, share: Share, *, buffers: int) -> DeviceMemory:
        return DeviceMemory(
            weights=whole.weights // share.devices,
            gradients=whole.gradients // share.devices,
            optimizer=whole.optimizer // share.devices,
            activations=whole.activations,
            buffers=buffers,
        )


class _Fsdp2(_Sharded):
    """PyTorch's ``fully_shard`` of every layer and of the whole.

    What is in no layer stays gathered during a pass, and beside a layer the next one is on its way.
    Over several passes the gradients of an update stay whole, as accelerate accumulates them.
    """

    def memory(self, whole: Memory, weights: Gathered, share: Share) -> DeviceMemory:
        buffers = weights.outside + 2 * weights.layer
        kept = whole.gradients if share.passes > 1 else 0
        return self._shared(whole, share, buffers=buffers + kept)

    def sent(self, whole: Memory, weights: Gathered, share: Share) -> float:
        return self._sent_weights(weights, share) + share.sent * whole.gradients


class _Zero3(_Sharded):
    """DeepSpeed: as many parameters as its default allows stay gathered."""

    def memory(self, whole: Memory, weights: Gathered, share: Share) -> DeviceMemory:
        live = min(weights.total, _LIVE * weights.size)
        return self._shared(whole, share, buffers=live + _bucket(whole))

    def sent(self, whole: Memory, weights: Gathered, share: Share) -> float:
        return self._sent_weights(weights, share) + share.sent * share.passes * whole.gradients


ALONE = Strategy(name="alone", label="one device")
STRATEGIES: tuple[Strategy, ...] = (
    Strategy(name="ddp", label="DDP"),
    _Fsdp2(name="fsdp2", label="FSDP2"),
    _Zero2(name="zero2", label="ZeRO-2"),
    _Zero3(name="zero3", label="ZeRO-3"),
)


def strategies(devices: int) -> tuple[Strategy, ...]:
    """Those that there is a choice between."""
    return STRATEGIES if devices > 1 else (ALONE,)


def gathered(model: PreTrainedModel, size: int) -> Gathered:
    """Weigh what is gathered when the weights are shared out.

    Args:
        model: Weights are not needed.
        size: Bytes of a number in the arithmetic type.
    """
    layers = [_count(m) for m in model.modules() if isinstance(m, GradientCheckpointingLayer)]
    encoder = _count(model.encoder) if isinstance(model, LayAlignModel) else 0
    total = _count(model)
    return Gathered(
        encoder=size * encoder,
        rest=size * (total - encoder),
        outside=size * (total - sum(layers)),
        layer=size * max(layers, default=0),
        size=size,
    )


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _bucket(whole: Memory) -> int:
    """Bytes of the gradients that DeepSpeed reduces at once, float32."""
    return min(whole.gradients, 4 * _BUCKET)
