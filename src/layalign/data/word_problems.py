"""The arithmetic word problems that are shipped with layalign, in many languages."""

import json
from collections.abc import Iterator, Sequence
from importlib import resources
from typing import Any, Literal

from layalign.data.example import Example
from layalign.data.languages import check_language
from layalign.data.lines import read_lines
from layalign.errors import ConfigError, DataError

SPLITS = ("train", "dev", "test", "english", "drills")

Target = Literal["reasoning", "english"]


def load_word_problems(
    split: str,
    *,
    languages: Sequence[str] | None = None,
    target: Target | None = None,
    limit: int | None = None,
) -> list[Example]:
    """Load word problems, each with the same id in every language.

    Args:
        split: ``"train"``, ``"dev"`` or ``"test"``, or, in English alone, ``"english"`` or
            ``"drills"``; the splits share no story templates.
        languages: Which languages, in the order wanted; all of them by default.
        target: What :attr:`Example.target` holds: the English ``"reasoning"`` that ends in the
            answer, the ``"english"`` question (a translation pair), or nothing.
        limit: At most so many problems a language, the same ones in each.

    Returns:
        The examples, one language after the other, each in the order of the ids.

    Raises:
        ConfigError: Unknown split or target.
        DataError: A language is not among those of the set.
    """
    if split not in SPLITS:
        raise ConfigError(f"unknown split {split!r} of the word problems; expected one of {SPLITS}")
    if target not in ("reasoning", "english", None):
        raise ConfigError(f"unknown target {target!r}; expected 'reasoning' or 'english'")
    # By id the story templates take turns, so that the first rows are a fair sample.
    rows = sorted(_rows(split), key=lambda row: str(row["id"]))[:limit]
    known = list(dict.fromkeys(tag for row in rows for tag in row["questions"]))
    wanted = known if languages is None else [check_language(tag) for tag in languages]
    if unknown := [tag for tag in wanted if tag not in known]:
        raise DataError(
            f"the word problems are not available in {', '.join(unknown)}; "
            f"they are in {', '.join(known)}"
        )
    return [_example(row, tag, target) for tag in wanted for row in rows if tag in row["questions"]]


def _rows(split: str) -> Iterator[dict[str, Any]]:
    folder = resources.files("layalign.data") / "word_problems"
    with resources.as_file(folder / f"{split}.jsonl.gz") as path:
        yield from (json.loads(line) for _, line in read_lines(path))


def _example(row: dict[str, Any], language: str, target: Target | None) -> Example:
    targets = {"reasoning": row["reasoning"], "english": row["questions"]["en"], None: None}
    return Example(
        id=row["id"],
        text=row["questions"][language],
        language=language,
        answer=row["answer"],
        target=targets[target],
    )
