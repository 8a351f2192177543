import io
import json
import stat
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from layalign.errors import ConfigError
from layalign.eval.report import comparison_table, print_comparison, progress_bar, write_json


def figures(accuracy: float) -> dict[str, float]:
    return {"accuracy": accuracy, "low": max(0, accuracy - 6), "high": min(100, accuracy + 6)}


def estimate(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 2, "high": value + 2}


def row(name: str, bare: float, ours: float, *, trained: bool | None) -> dict[str, Any]:
    return {
        "name": name,
        "items": 250,
        "trained": trained,
        "bare": figures(bare),
        "layalign": figures(ours),
        "gain": ours - bare,
        "share_of_english": ours / 0.8,
    }


def average(bare: float, ours: float) -> dict[str, Any]:
    return {"bare": estimate(bare), "layalign": estimate(ours), "gain": estimate(ours - bare)}


SUMMARY = {
    "languages": {
        "am": row("Amharic", 1, 21, trained=False),
        "en": row("English", 80, 78.4, trained=True),
        "sw": row("Swahili", 2, 62, trained=True),
        "zh-Hant": row("Chinese (Traditional)", 100, 100, trained=True),
    },
    "averages": {
        "all": average(20, 50),
        "non_english": average(10, 40),
        "trained": average(51, 81),
        "never_trained": average(1, 21),
    },
}


def render(summary: dict[str, Any], **options: Any) -> list[str]:
    console = Console(file=io.StringIO(), width=100, color_system=None)
    print_comparison(console, summary, **options)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return [line.rstrip() for line in text.splitlines()]


def test_table_is_complete_at_100_columns() -> None:
    lines = render(SUMMARY, title="Word problems")
    assert max(map(len, lines)) <= 100
    assert "…" not in "\n".join(lines)
    (swahili,) = (line for line in lines if "Swahili" in line)
    assert " ".join(swahili.split()) == "Swahili 250 2.0 [0-8] 62.0 [56-68] +60.0 78 %"


def test_groups_stand_apart() -> None:
    text = "\n".join(render(SUMMARY))
    order = ["English", "Swahili", "Average, trained", "Amharic", "Average, never", "Average, all"]
    assert sorted(order, key=text.index) == order
    (trained,) = (line for line in render(SUMMARY) if "Average, trained" in line)
    assert trained.endswith("81.0 [79-83]     +30.0 [+28, +32]")


def test_without_groups_and_without_the_bare_llm() -> None:
    swahili = row("Swahili", 0, 62, trained=None) | dict.fromkeys(
        ("bare", "gain", "share_of_english")
    )
    ours = {**average(0, 62), "bare": None, "gain": None}
    summary = {"languages": {"sw": swahili}, "averages": {"all": ours, "non_english": ours}}
    text = "\n".join(render(summary))
    assert "62.0 [56-68]" in text
    assert "Average, no English" in text
    assert "None" not in text
    assert comparison_table(summary).row_count == 2


def test_progress_bar() -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    with progress_bar(console) as progress:
        progress(0, 8, "Swahili")
        progress(8, 8, "English")
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "English" in text
    assert "8/8" in text


def test_write_json(tmp_path: Path) -> None:
    file = tmp_path / "new" / "out.json"
    write_json(file, {"text": "สวัสดี"})
    write_json(file, {"text": "habari"})
    assert json.loads(file.read_text(encoding="utf-8")) == {"text": "habari"}
    assert list(file.parent.iterdir()) == [file]
    assert stat.S_IMODE(file.stat().st_mode) & 0o044


def test_write_json_failures(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder"):
        write_json(tmp_path, {})
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be written"):
        write_json(tmp_path / "file" / "out.json", {})
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "out.json", {"x": float("nan")})
    assert {entry.name for entry in tmp_path.iterdir()} == {"file"}
