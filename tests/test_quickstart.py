"""The quick start's own arithmetic; the run itself is `make quickstart`."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from layalign.errors import ConfigError
from layalign.quickstart import MINUTES, print_summary, quickstart_recipe, summarise

UNSEEN = {"tr", "id", "ur"}


def run_summary() -> dict[str, Any]:
    def accuracy(value: float) -> dict[str, float]:
        return {"accuracy": value, "low": value - 5, "high": value + 5}

    def average(bare: float, ours: float) -> dict[str, Any]:
        values = {"bare": bare, "layalign": ours, "gain": ours - bare}
        return {
            "languages": [],
            **{k: {"value": v, "low": v, "high": v} for k, v in values.items()},
        }

    rows = {
        tag: {
            "name": tag,
            "items": 25,
            "trained": tag != "tr",
            "bare": accuracy(bare),
            "layalign": accuracy(ours),
            "gain": ours - bare,
            "share_of_english": 100 * ours / 60,
        }
        for tag, bare, ours in (("en", 60.0, 58.0), ("sw", 8.0, 44.0), ("tr", 12.0, 30.0))
    }
    groups = {"all": average(26, 44), "trained": average(8, 44), "never_trained": average(12, 30)}
    return {
        "output_dir": "runs/x",
        "evaluation": {"languages": rows, "averages": groups},
        "seconds": {},
    }


def test_summary_fields() -> None:
    summary = summarise(run_summary())
    assert summary["english_drop"] == 2.0
    assert summary["gain_non_english"] == 36
    assert summary["gain_unseen"] == 18
    assert {tag: row["seen"] for tag, row in summary["languages"].items()} == {
        "en": True,
        "sw": True,
        "tr": False,
    }


def test_printed_summary() -> None:
    summary = summarise(run_summary()) | {
        "examples": [
            {
                "language": "bn",
                "question": "প্রশ্ন [1]?",
                "english": "Question?",
                "expected": "3",
                "layalign": "3\n",
                "bare": "",
            }
        ],
        "seconds_total": 600.0,
        "peak_memory_gib": None,
    }
    console = Console(file=io.StringIO(), width=100)
    print_summary(console, summary)
    text = console.file.getvalue()
    assert "প্রশ্ন [1]?" in text
    assert "10.0 minutes; checkpoint in runs/x" in text
    assert 'layalign generate runs/x "প্রশ্ন [1]?"' in text


def test_recipe_is_scaled_and_keeps_languages_unseen() -> None:
    whole = quickstart_recipe("runs/a")
    half = quickstart_recipe("runs/a", minutes=MINUTES / 2, seed=3)
    for stage in ("finetune", "translation", "task"):
        minutes = getattr(whole.stage, stage).max_minutes
        assert getattr(half.stage, stage).max_minutes == pytest.approx(minutes / 2, abs=1e-3)
    assert (half.seed, half.output_dir) == (3, "runs/a")
    for data in (whole.data.translation, whole.data.task):
        assert data is not None
        assert not UNSEEN & set(data.train[0].languages or ())
    with pytest.raises(ConfigError, match="minutes is -1"):
        quickstart_recipe("runs/a", minutes=-1)
