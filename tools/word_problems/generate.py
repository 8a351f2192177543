"""Write the shipped word problems: draw them once, say them in every language.

python tools/word_problems/generate.py                  write the data set
python tools/word_problems/generate.py --check sw       list what is wrong with one language file
python tools/word_problems/generate.py --show sw 20     20 questions beside English, for reviewers
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import random
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from checks import find_problems, find_sentence_problems
from language import Language
from sampling import ENGLISH_SIZE, N_DRILLS, SEED, SIZES, Catalogue, Problem, draw, draw_drills
from strict_yaml import CatalogueError

HERE = Path(__file__).parent
OUTPUT = HERE.parents[1] / "src" / "layalign" / "data" / "word_problems"


def main() -> int:
    """Run the command line; returns the exit code."""
    args = _parser().parse_args()
    try:
        catalogue = Catalogue.load(HERE / "catalogue.yaml")
        if args.check:
            return _report(catalogue, args.check)
        if args.show:
            return _show(catalogue, args.show[0], int(args.show[1]))
        languages = _load_all()
        if _report(catalogue, list(languages)):
            return 1
        write_data_set(catalogue, languages, args.output)
        write_english(catalogue, languages["en"], args.output)
    except CatalogueError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--check", nargs="+", metavar="LANG", help="check language files, write nothing"
    )
    parser.add_argument(
        "--show", nargs=2, metavar=("LANG", "N"), help="print N questions beside English"
    )
    parser.add_argument("--output", type=Path, default=OUTPUT, help="folder to write to")
    return parser


def _load(tag: str) -> Language:
    path = HERE / "languages" / f"{tag}.yaml"
    if not path.exists():
        raise CatalogueError(f"{path.name}: no such file in {path.parent.name}/")
    return Language(path)


def _load_all() -> dict[str, Language]:
    """All languages by tag, English first."""
    tags = sorted(
        (path.stem for path in (HERE / "languages").glob("*.yaml")),
        key=lambda tag: (tag != "en", tag),
    )
    return {tag: _load(tag) for tag in tags}


def _report(catalogue: Catalogue, tags: list[str]) -> int:
    english = _load("en")
    failed = 0
    for tag in tags:
        problems = find_problems(_load(tag), english, catalogue)
        for problem in problems:
            print(problem, file=sys.stderr)
        print(f"{tag}: {f'{len(problems)} problems' if problems else 'ok'}")
        failed |= bool(problems)
    return failed


def _show(catalogue: Catalogue, tag: str, count: int) -> int:
    """Print questions beside English; the first 90 show each template once."""
    english, language = _load("en"), _load(tag)
    rng = random.Random(SEED)
    by_template: dict[str, list[Problem]] = {}
    for split, size in SIZES.items():
        for problem in draw(catalogue, split, size):
            by_template.setdefault(problem.template.id, []).append(problem)
    order = rng.sample(list(by_template), len(by_template))
    for index in range(count):
        problem = rng.choice(by_template[order[index % len(order)]])
        print(f"{problem.id} {problem.template.id}: {problem.reasoning}")
        print(f"  en: {english.write(problem)}\n  {tag}: {language.write(problem)}")
    return 0


def write_data_set(catalogue: Catalogue, languages: dict[str, Language], output: Path) -> None:
    """Write ``train``, ``dev`` and ``test.jsonl.gz`` and the data card."""
    output.mkdir(parents=True, exist_ok=True)
    for split, size in SIZES.items():
        rows = _grouped(draw(catalogue, split, size))
        _write_rows(output / f"{split}.jsonl.gz", [_row(row, languages) for row in rows])
    card = (HERE / "data_card.md").read_text(encoding="utf-8")
    rows = [f"| `{tag}` | {language.locale.english_name} |" for tag, language in languages.items()]
    (output / "README.md").write_text(
        card.replace("<languages>", "\n".join(rows)), encoding="utf-8"
    )


def write_english(catalogue: Catalogue, english: Language, output: Path) -> None:
    """Write ``english.jsonl.gz``, more stories, and ``drills.jsonl.gz``, bare sums.

    Raises:
        CatalogueError: A story of ``english.yaml`` is not valid.
    """
    path = HERE / "english.yaml"
    stories, sentences = catalogue.with_english(path)
    language = english.with_sentences(path.name, sentences)
    if problems := find_sentence_problems(language, language, stories):
        raise CatalogueError("\n".join(problems))
    rows = [_row(p, {"en": language}) for p in _grouped(draw(stories, "english", ENGLISH_SIZE))]
    drills = [
        {
            "id": drill.id,
            "template": "drill",
            "split": "drills",
            "answer": str(drill.steps[-1].result),
            "reasoning": drill.reasoning,
            "questions": {"en": drill.question},
        }
        for drill in draw_drills(N_DRILLS)
    ]
    _write_rows(output / "english.jsonl.gz", rows)
    _write_rows(output / "drills.jsonl.gz", drills)


def _grouped(problems: list[Problem]) -> list[Problem]:
    """Neighbours of one template compress far better; the ids keep the balanced order."""
    return sorted(problems, key=lambda problem: (problem.template.id, problem.id))


def _write_rows(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_bytes(_gzip("\n".join(lines) + "\n"))


def _row(problem: Problem, languages: dict[str, Language]) -> dict[str, object]:
    return {
        "id": problem.id,
        "template": problem.template.id,
        "split": problem.template.split,
        "answer": problem.answer,
        "reasoning": problem.reasoning,
        "questions": {tag: language.write(problem) for tag, language in languages.items()},
    }


def _gzip(text: str) -> bytes:
    """Compress without file name and time, so that the same text gives the same bytes."""
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=buffer, mtime=0) as stream:
        stream.write(text.encode("utf-8"))
    return buffer.getvalue()


if __name__ == "__main__":
    sys.exit(main())
