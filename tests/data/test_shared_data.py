"""Real data sets load as they are, where the reference data is present."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from layalign.data import DataSource, Example, load_examples
from layalign.eval.metrics import score

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no reference data in {DATA}")


def load(folder: str, **settings: Any) -> list[Example]:
    return load_examples(DataSource(path=str(DATA / folder), **settings))


MATH = ["bn", "de", "en", "es", "fr", "ja", "ru", "sw", "th", "zh"]


@pytest.mark.parametrize(
    ("folder", "settings", "expected"),
    [
        ("mgsm", {"format": "mgsm", "languages": (*MATH, "te")}, dict.fromkeys([*MATH, "te"], 150)),
        ("mgsm_exemplars", {"format": "mgsm"}, dict.fromkeys([*MATH, "te"], 8)),
        ("msvamp", {"format": "msvamp", "languages": tuple(MATH)}, dict.fromkeys(MATH, 600)),
        ("mmath", {"format": "mgsm", "languages": ("ar", "ko")}, {"ar": 356, "ko": 356}),
        ("gsm_questions", {"format": "gsm_questions", "languages": ("fr",)}, {"fr": 6974}),
        (
            "xcopa",
            {"format": "xcopa", "split": "val"},
            dict.fromkeys(["et", "ht", "id", "it", "qu", "sw", "ta", "th", "tr", "vi", "zh"], 100),
        ),
        ("xnli", {"format": "xnli", "split": "dev", "languages": ("sw", "my", "eu")},
         {"sw": 2490, "my": 2490}),
        ("xnli", {"format": "xnli", "split": "test", "languages": ("el",)}, {"el": 5010}),
        ("americasnli", {"format": "xnli", "languages": ("ay", "gn", "qu"), "codes": {"quy": "qu"}},
         {"ay": 750, "gn": 750, "qu": 750}),
        ("id-csqa", {"format": "x_csqa"}, {"id": 1498, "su": 1499}),
        ("tatoeba", {"format": "bitext", "languages": ("sw", "xh")}, {"sw": 390, "xh": 142}),
        ("parallel", {"format": "bitext", "languages": ("ny", "ko")}, {"ny": 1467, "ko": 7840}),
        ("ntrex", {"format": "bitext_files", "target_path": str(DATA / "ntrex" / "eng.txt"),
                   "languages": ("sw", "zh-TW")}, {"sw": 1500, "zh-TW": 1500}),
    ],
)  # fmt: skip
def test_loads(folder: str, settings: dict[str, Any], expected: dict[str, int]) -> None:
    examples = load(folder, **settings)
    assert Counter(e.language for e in examples) == expected


@pytest.mark.parametrize("folder", ["mgsm", "msvamp"])
def test_answers_are_the_same_in_every_language(folder: str) -> None:
    answers: dict[str | None, set[str | None]] = {}
    for example in load(folder, format=folder, languages=tuple(MATH)):
        answers.setdefault(example.id, set()).add(example.answer)
        assert score(f"The answer is {example.answer}.", example, "number").correct
    assert all(len(found) == 1 for found in answers.values())


@pytest.mark.parametrize(
    "settings",
    [
        {"folder": "xcopa", "format": "xcopa", "split": "test"},
        {"folder": "id-csqa", "format": "x_csqa"},
        {"folder": "xnli", "format": "xnli", "split": "dev", "languages": ("sw",)},
    ],
)
def test_answers_are_among_the_choices(settings: dict[str, Any]) -> None:
    for example in load(**settings):
        assert score(f"The answer is {example.answer}.", example, "choice").correct
