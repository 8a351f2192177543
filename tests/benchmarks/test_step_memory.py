"""What all layers of the paper's models would take, from fewer of them; nothing is measured."""

from __future__ import annotations

import pytest

from layalign.model.known_sizes import KNOWN_SIZES
from layalign.model.sizes import backbone_config
from step_memory import FULL, extrapolate, models, table
from targets import LONG


def test_the_full_depth_is_the_papers() -> None:
    encoder, llm = (backbone_config(name, "model") for name in models(FULL).values())
    expected = {"d_model": 2048, "d_kv": 64, "d_ff": 5120, "num_layers": 24, "num_heads": 32}
    assert {name: getattr(encoder, name) for name in expected} == expected
    for name, value in KNOWN_SIZES["meta-llama/Llama-2-7b-hf"].items():
        if name != "max_position_embeddings":  # no weights depend on it
            assert getattr(llm, name) == value


def test_a_line_goes_through_what_was_measured() -> None:
    """An intercept of 2 and 1, and 0.5 and 0.45 a layer; the planned column is the plan's own."""
    rows = [
        {
            "layers": layers,
            "memory_gib": 2 + layers / 2,
            "bare_memory_gib": 1 + 0.45 * layers,
            "memory_ratio": (2 + layers / 2) / (1 + 0.45 * layers),
            "planned_gib": 3.0,
        }
        for layers in (4, 8)
    ]
    full = extrapolate(rows, LONG, 8)
    assert full["memory_gib"] == pytest.approx(18)
    assert full["bare_memory_gib"] == pytest.approx(15.4)
    # 6.7 and 1.7 thousand million weights of two bytes, and what a step keeps.
    assert 8.4e9 * 2 < full["planned_gib"] * 2**30 < 1.7 * 8.4e9 * 2
    found = table(rows, full, 8)
    assert "| 4 | 3 | 4.00 | 2.80 | 1.43 | 3.00 |" in found
    assert "| 32, from the lines | 24 | 18.00 | 15.40 | 1.17 |" in found
    assert "At the paper's depth 1.17 × (target ≤ 1.30 × bare LLM): met." in found
