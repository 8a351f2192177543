"""How plans are compared with what was measured; nothing is measured here."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from layalign.planning import find_device
from validate_plan import CASES, predict, table, write_configurations

DEVICE = dataclasses.replace(find_device("l40-48gb"), name="cpu")


def test_predictions(tmp_path: Path) -> None:
    """Two passes take twice the seconds and no more memory, but for an update's own."""
    one, two = (
        predict(CASES[name], write_configurations(CASES[name], tmp_path), DEVICE)
        for name in ("questions", "two passes")
    )
    assert two[0] == one[0]
    assert two[1] == pytest.approx(2 * one[1], rel=0.02)


def test_verdicts() -> None:
    row = {"case": "questions", "predicted_gib": 1.1, "measured_gib": 1.0, "memory_off": 10.0}
    row |= {"predicted_seconds": 2.0, "measured_seconds": 3.0, "time_off": -33.3}
    found = table([row], DEVICE)
    assert "| questions | 1.10 | 1.00 | +10 % | 2.00 | 3.00 | -33 % |" in found
    assert "memory within 15 %: met, at most 10 % off" in found
    assert "time within 30 %: missed, at most 33 % off" in found
