"""Side by side, and in medians."""

from __future__ import annotations

import pytest
import torch

from layalign.bench.timing import Timed, check_repeats, observe, time_runs
from layalign.errors import ConfigError


def test_ways_take_turns_after_a_round_that_does_not_count() -> None:
    ran: list[str] = []
    names = ("layalign", "bare", "published")
    runs = {name: lambda name=name: ran.append(name) for name in names}
    timed = time_runs(runs, device="cpu", repeats=6)
    assert ran == [*names] * 7
    assert {name: len(seconds) for name, seconds in timed.seconds.items()} == dict.fromkeys(
        names, 6
    )


def test_the_ratio_compares_what_ran_side_by_side() -> None:
    # The machine is slow in two rounds of five, and ours is always twice as long.
    bare = [1.0, 1.0, 9.0, 9.0, 1.0]
    seconds = {"layalign": [2 * value for value in bare], "bare": bare}
    timed = Timed(seconds=seconds, flops=0, peak_gib=None, work_gib=None)
    assert timed.ratio("bare") == 2
    assert timed.ratio("published") is None
    figures = timed.figures()
    assert (figures["seconds"], figures["seconds_min"], figures["seconds_max"]) == (2, 2, 18)
    assert figures["bare_seconds"] == figures["bare_seconds_min"] == 1
    assert figures["published_seconds"] is None


def test_operations_are_those_of_the_product() -> None:
    left, right = torch.ones(3, 5), torch.ones(5, 7)
    seen = observe(lambda: left @ right)
    assert seen["flops"] == 2 * 3 * 5 * 7
    assert seen["peak_gib"] is None or seen["peak_gib"] >= seen["work_gib"] >= 0


def test_too_few_rounds() -> None:
    with pytest.raises(ConfigError, match="repeats is 4; expected at least 5"):
        check_repeats(4)
