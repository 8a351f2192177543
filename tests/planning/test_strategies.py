"""What devices hold and send, stated once more."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from torch import nn

from factories import make_encoder, make_language_model, make_model
from layalign.planning.strategies import STRATEGIES, Gathered, Share, gathered, strategies
from layalign.train.footprint import Memory

WHOLE = Memory(weights=1_700_000, gradients=8_000, optimizer=16_000, activations=500_000)
WEIGHTS = Gathered(encoder=300_000, rest=1_400_000, outside=200_000, layer=50_000, size=2)
BY_NAME = {strategy.name: strategy for strategy in STRATEGIES}


def share(devices: int, passes: int = 2) -> Share:
    return Share(devices=devices, passes=passes)


@pytest.mark.parametrize("name", ["fsdp2", "zero3"])
def test_more_devices_hold_less_each(name: str) -> None:
    totals = [BY_NAME[name].memory(WHOLE, WEIGHTS, share(n)).total for n in (2, 3, 4, 8, 64)]
    assert totals == sorted(totals, reverse=True)
    assert len(set(totals)) == len(totals)


def test_with_plain_data_parallelism_every_device_holds_all() -> None:
    """And the gradients once more, on their way."""
    found = {BY_NAME["ddp"].memory(WHOLE, WEIGHTS, share(n)) for n in (2, 8, 64)}
    assert len(found) == 1
    assert found.pop().total == WHOLE.total + WHOLE.gradients


def test_zero_2_shares_gradients_and_moments_only() -> None:
    found = BY_NAME["zero2"].memory(WHOLE, WEIGHTS, share(8))
    assert (found.weights, found.activations) == (WHOLE.weights, WHOLE.activations)
    assert (found.gradients, found.optimizer) == (1_000, 2_000)


def test_what_stays_gathered() -> None:
    """FSDP: what is in no layer, and two layers. ZeRO-3: a billion parameters, if there are."""
    accumulated = BY_NAME["fsdp2"].memory(WHOLE, WEIGHTS, share(4, passes=2)).buffers
    at_once = BY_NAME["fsdp2"].memory(WHOLE, WEIGHTS, share(4, passes=1)).buffers
    assert (at_once, accumulated - at_once) == (200_000 + 2 * 50_000, WHOLE.gradients)
    assert BY_NAME["zero3"].memory(WHOLE, WEIGHTS, share(4)).buffers == 1_700_000 + 8_000
    large = Gathered(encoder=0, rest=14 * 10**9, outside=10**9, layer=10**8, size=2)
    assert BY_NAME["zero3"].memory(WHOLE, large, share(4)).buffers == 2 * 10**9 + 8_000


def test_what_is_sent() -> None:
    """A ring of n sends (n - 1) / n of a tensor to gather or to reduce it."""
    passes, n = 3, 4
    of = (n - 1) / n
    gradients, weights = WHOLE.gradients, 300_000 + 2 * 1_400_000  # forwards; and backwards too
    expected = {
        "ddp": 2 * of * gradients,
        "fsdp2": of * (passes * weights + gradients),
        "zero2": of * (passes * gradients + gradients),
        "zero3": of * passes * (weights + gradients),
    }
    found = {name: s.sent(WHOLE, WEIGHTS, share(n, passes)) for name, s in BY_NAME.items()}
    assert found == pytest.approx(expected)


def test_one_device_has_nothing_to_share() -> None:
    (alone,) = strategies(1)
    assert alone.memory(WHOLE, WEIGHTS, share(1)).total == WHOLE.total
    assert alone.sent(WHOLE, WEIGHTS, share(1)) == 0
    assert strategies(2) == STRATEGIES


def numbers(*modules: nn.Module) -> Iterator[int]:
    for module in modules:
        yield sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("family", ["mt5", "bert", "m2m_100"])
def test_layers_of_a_model(family: str) -> None:
    encoder, language_model = make_encoder(family), make_language_model(hidden_size=64)
    model = make_model(language_model, encoder)
    found = gathered(model, 2)
    stack = next(m for m in encoder.modules() if isinstance(m, nn.ModuleList))
    layers = [*numbers(*stack, *language_model.model.layers)]
    (everything,) = numbers(model)
    assert found.total == 2 * everything
    assert found.encoder == 2 * next(numbers(encoder))
    assert found.outside == 2 * (everything - sum(layers))
    assert found.layer == 2 * max(layers)
