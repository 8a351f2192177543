"""A comparison, an evaluation and a run as they lie on disk, with text from everywhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

LANGUAGES = {"en": "English", "sw": "Swahili", "ar": "Arabic", "bn": "Bangla", "th": "Thai"}
HOSTILE = (
    "</script><script>document.title = 'taken'</script> <img src=x onerror=\"alert('1')\"> "
    "\u202eabc \x00 & <!-- {{ 7 * 7 }}"
)
QUESTIONS = {
    "en": "Ann has 3 apples and buys 12. How many are there?",
    "sw": "Juma ana matofaa 3 na ananunua 12. Ana mangapi?",
    "ar": "لدى أحمد 3 تفاحات واشترى 12. كم لديه؟",
    "bn": "রহিমের ৩টি আপেল আছে এবং আরও ১২টি কেনে। মোট কয়টি?",
    "th": "จอห์นมีแอปเปิล 3 ผล ซื้ออีก 12 ผล มีกี่ผล",
}
ITEMS = 16
METHODS = {"base": "Bare LLM", "mindmerger": "MindMerger", "layalign": "LayAlign"}


def estimate(value: float) -> dict[str, float]:
    return {"value": value, "low": max(0.0, value - 9), "high": value + 9}


def is_right(method: str, number: int) -> bool:
    """LayAlign is right three times as often as the bare model, and whenever that is."""
    return number % 4 == 0 if method in ("base", "bare_llm") else number % 4 != 1


def predictions(method: str) -> str:
    lines = []
    for position, (tag, question) in enumerate(QUESTIONS.items()):
        for number in range(ITEMS):
            right = is_right(method, number)
            answer = "15" if right else "9"
            output = f"It is {answer}." + (HOSTILE if tag == "en" and number == 0 else "")
            row = {
                "index": position * ITEMS + number,
                "id": str(number),
                "language": tag,
                "text": f"{question} ({number})",
                "answer": "15",
                "output": output,
                "parsed": answer,
                "correct": right,
                "reference": None,
                "seconds": 0.1,
                "new_tokens": 4,
            }
            lines.append(json.dumps(row, ensure_ascii=False))
    return "\n".join(lines) + "\n"


def write_run(
    folder: Path, *, system: str, seed: int = 1, evaluation: Any = None, method: str = "layalign"
) -> Path:
    """A finished run; its losses fall, and its development loss is taken twice."""
    (folder / "predictions").mkdir(parents=True)
    for slug in {system, "bare_llm"} if evaluation else {system}:
        text = predictions("base" if slug == "bare_llm" else slug)
        (folder / "predictions" / f"{slug}.jsonl").write_text(text, encoding="utf-8")
    recipe = f"output_dir: {folder.name}\nseed: {seed}\nmethod: {method}\n"
    recipe += "model: {encoder: e5, aligner: linear}\n"
    (folder / "recipe.yaml").write_text(recipe, encoding="utf-8")
    dev = [{"update": update, "loss": 2 / update, "languages": {}} for update in (200, 400)]
    task = {"updates": 400, "tokens": 5000, "losses": [4 / (n + 1) for n in range(400)], "dev": dev}
    summary = {
        "output_dir": folder.name,
        "stages": {"lexical": {"relative_error": 0.2}, "task": task},
        "evaluation": evaluation,
        "seconds": {"task": 90.0, "evaluation": 600.0},
        "training_seconds": 90.0,
        "trained_parameters": 4321,
        "seed": seed,
        "system": system,
        "versions": {"layalign": "0.1.0"},
    }
    write(folder / "summary.json", summary)
    return folder


def write(path: Path, values: Any) -> None:
    path.write_text(json.dumps(values, ensure_ascii=False), encoding="utf-8")


def accuracy(value: float) -> dict[str, float]:
    return {"accuracy": value, "low": max(0.0, value - 9), "high": value + 9}


def evaluation(bare: float, ours: float | None) -> dict[str, Any]:
    """What ``layalign.eval.compare`` gives."""
    gain = None if ours is None else ours - bare
    return {
        "languages": {
            tag: {
                "name": name,
                "items": ITEMS,
                "trained": tag != "th",
                "bare": accuracy(bare),
                "layalign": None if ours is None else accuracy(ours),
                "gain": gain,
                "share_of_english": 90.0,
            }
            for tag, name in LANGUAGES.items()
        },
        "averages": {
            "all": {
                "languages": list(LANGUAGES),
                "bare": estimate(bare),
                "layalign": None if ours is None else estimate(ours),
                "gain": None if gain is None else estimate(gain),
            }
        },
    }


def write_results(
    folder: Path, *, ours: float | None, bare: float = 25, method: str | None = None, **facts: Any
) -> Path:
    """A folder of ``layalign evaluate --output``; ``facts`` are of its task."""
    folder.mkdir()
    task = {
        **evaluation(bare, ours),
        "version": 1,
        "template": {"name": "paper", "version": 1},
        "scoring": "generate",
        "metric": "number",
        "limit": ITEMS,
        "data": "data/mgsm",
        "split": "test",
        "data_sha256": {"mgsm": "0"},
        **facts,
    }
    recipe = None if method is None else {"method": method}
    command = "layalign evaluate runs/own --tasks mgsm"
    results = {"recipe": recipe, "tasks": {"mgsm": task}, "command": command, "versions": {}}
    write(folder / "results.json", results)
    write(folder / "settings.json", {"tasks": {"mgsm": {}}})
    for slug in ("bare_llm", "layalign"):
        (folder / f"mgsm.{slug}.jsonl").write_text(predictions(slug), encoding="utf-8")
    return folder


def write_comparison(folder: Path) -> Path:
    """A folder of ``layalign compare``: three methods, two seeds."""
    groups = {"all": list(LANGUAGES), "never_trained": ["th"]}
    methods: dict[str, Any] = {}
    for place, (name, label) in enumerate(METHODS.items()):
        value = 10.0 + 15 * place
        seeds = {seed: f"{name}-seed{seed}" for seed in (1, 2)}
        for seed, run in seeds.items():
            system = "bare_llm" if name == "base" else name
            write_run(folder / run, system=system, seed=seed)
        row = {**estimate(value - 40), "p": 0.01, "p_corrected": 0.04, "verdict": "worse"}
        methods[name] = {
            "label": label,
            "seeds": [1, 2],
            "runs": {str(seed): run for seed, run in seeds.items()},
            "languages": {tag: estimate(value) for tag in LANGUAGES},
            "averages": {group: estimate(value) for group in groups},
            "versus": {"reference": "layalign", "averages": dict.fromkeys(groups, row)},
            "cost": {
                "trained_parameters": 1234567,
                "training_seconds": 90.0,
                "tokens_per_second": 101.0,
                "relative_speed": 0.9,
                "peak_memory_gib": None,
            },
        }
    methods["layalign"]["versus"] = None
    values = {
        "schema": 1,
        "recipe": "tiny",
        "equal": {"kind": "examples", "budget": 800},
        "commands": ["layalign compare tiny.yaml --methods base,mindmerger,layalign --seeds 1,2"],
        "versions": {"torch": "2.13"},
        "metric": "number",
        "reference": "layalign",
        "seeds": [1, 2],
        "languages": {
            tag: {"name": name, "trained": tag != "th", "items": ITEMS}
            for tag, name in LANGUAGES.items()
        },
        "groups": groups,
        "methods": methods,
    }
    write(folder / "comparison.json", values)
    return folder
