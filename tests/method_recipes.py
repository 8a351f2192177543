"""A recipe on tiny models that has everything that any method needs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Values = dict[str, Any]


def write_examples(root: Path) -> None:
    """A file of examples in two languages."""
    rows = [
        {
            "id": str(i),
            "text": "three eggs" if i % 2 else "tatu mayai mbili",
            "language": "en" if i % 2 else "sw",
            "target": f"the answer is {i}",
            "answer": str(i),
        }
        for i in range(8)
    ]
    (root / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def recipe_values(root: Path, folder: Path, method: str = "layalign", **changes: Any) -> Values:
    """The recipe as plain values; the models are in ``root`` too."""
    source = {"path": str(root / "data.jsonl")}
    stage = {"lr": 1e-2, "gate_lr": 1e-1, "batch_size": 4, "epochs": 1, "eval_every": 2}
    return {
        "output_dir": str(folder / method),
        "method": method,
        "model": {"encoder": str(root / "encoder"), "language_model": str(root / "language_model")},
        "processor": {"prompt_template": "{question} ="},
        "data": {
            "finetune": {"train": [{**source, "languages": ["en"]}]},
            "translation": {"train": [source]},
            "task": {"train": [source], "dev": [{**source, "limit": 1}]},
            "evaluation": [{**source, "limit": 2}],
            "on_leak": "warn",
        },
        "stage": {
            "finetune": {"lr": 2e-2, "batch_size": 2, "epochs": 1},
            "translation": stage,
            "task": stage,
        },
        "evaluation": {"max_new_tokens": 3, "translation_max_new_tokens": 3},
        **changes,
    }
