"""What the benchmarks make of what they measure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from layalign.model.sizes import backbone_config
from tables import PAGE, fill, markdown
from targets import PLANS, Verdict, judge

COUNTS = (64, 256)


def generated(count: int, ratio: float, published: float | None) -> dict[str, Any]:
    row = {"new_tokens": count, "ratio_to_bare": ratio, "ratio_to_published": published}
    return {"rows": [{"batch": batch, **row} for batch in (1, 8, 32)]}


def measured(ratio: float) -> dict[str, Any]:
    return {
        "generation": generated(64, ratio, 0.5),
        "generation_long": generated(256, ratio, None),
        "training": {
            "rows": [
                {"stage": stage, "batch": 4, "ratio_to_bare": ratio}
                for stage in ("translation", "task")
            ]
        },
        "memory": {"memory_ratio": ratio},
    }


def verdicts(ratio: float, device: str) -> dict[str, Verdict]:
    return {verdict.what: verdict for verdict in judge(measured(ratio), PLANS[device])}


def test_on_a_processor() -> None:
    found = verdicts(1.15, "cpu")
    for count in COUNTS:
        assert found[f"generation, {count} new tokens, batch 1"].verdict == "met"
        assert found[f"generation, {count} new tokens, batch 8"].verdict == "missed"
    published = found["generation, 64 new tokens, batch 32, to published"]
    assert (published.target, published.found) == ("≥ 1.8 × faster", "2.00 ×")
    assert published.verdict == "met"
    assert found["training step, task stage, batch 4"].verdict == "met"
    paper = "memory of a training step, paper's sizes, 8 × 194 tokens"
    assert found[paper].found == found[paper].verdict == "not measured"
    assert found[paper.replace("paper's sizes", "8 layers of 512")].found == "1.15 ×"
    assert found["quick start, end to end"].verdict == "missed"


def test_on_a_gpu() -> None:
    found = verdicts(1.3, "cuda")
    assert found["generation, 256 new tokens, batch 1"].target == "≤ 1.05 × bare LLM"
    assert found["generation, 64 new tokens, batch 8, to published"].verdict == "missed"
    assert found["training step, translation stage, batch 4"].verdict == "met"
    assert found["training step, task stage, batch 4"].verdict == "missed"
    assert found["memory of a training step, paper's sizes, 8 × 194 tokens"].verdict == "met"


@pytest.mark.parametrize("device", PLANS)
def test_every_size_is_known_without_a_network(device: str) -> None:
    plan = PLANS[device]
    for sizes in (plan.generation, plan.training, plan.memory):
        assert backbone_config(sizes["encoder"], "encoder").hidden_size
        assert backbone_config(sizes["llm"], "language model").hidden_size


def test_growth_is_found_and_shown(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs the analysis extra")
    from growth import Growth, plot, table

    sizes = (2, 4, 8)
    rows = [
        {"seconds_min": 3 * n**2, "bare_seconds_min": 5.0 * n**0.5, "work_gib": n * 0.1}
        for n in sizes
    ]
    found = Growth("layers", sizes, rows)
    assert found.exponent("seconds_min") == pytest.approx(2)
    assert found.exponent("bare_seconds_min") == pytest.approx(0.5)
    assert (
        Growth("layers", sizes, [{**row, "work_gib": None} for row in rows]).exponent("work_gib")
        is None
    )
    assert table([found]).splitlines()[-1] == (
        "| LLM layers | 2 … 8 | 12 … 192 | 2.00 | 7.07 … 14.1 | 0.50 | 0.2 … 0.8 | 1.00 |"
    )
    plot([found, found], tmp_path / "figures" / "growth.svg")
    assert (tmp_path / "figures" / "growth.svg").read_text("utf-8").count("<svg") == 1


def test_a_page_is_filled_between_its_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- here -->\nold\n<!-- /here -->\nb\n", "utf-8")
    text = markdown(("x", "y"), [("1", "2")])
    for _ in range(2):
        fill("here", text, page)
        expected = "a\n<!-- here -->\n| x | y |\n| --- | --- |\n| 1 | 2 |\n<!-- /here -->\nb\n"
        assert page.read_text("utf-8") == expected
    with pytest.raises(ValueError, match="there"):
        fill("there", text, page)


def test_the_page_has_a_place_for_every_table() -> None:
    text = PAGE.read_text("utf-8")
    for name in ("targets-cpu", "targets-gpu", "step-memory", "growth"):
        assert f"<!-- {name} -->\n" in text
        assert f"<!-- /{name} -->\n" in text
