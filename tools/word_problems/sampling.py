"""Draw language-neutral word problems from the catalogue: who, what, which numbers."""

from __future__ import annotations

import operator
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from strict_yaml import CatalogueError, load_entries, load_mapping

SEED = 20260
SIZES = {"train": 1600, "dev": 60, "test": 250}
ENGLISH_SIZE = 2400
N_DRILLS, SUMS_PER_DRILL = 2400, 4
WORDS = range(2, 13)
"""Numbers that may be written as words; every language needs a word for each."""
WORD_SHARE = 0.25
MAX_TRIES = 50_000
DEFAULT_MOST = 120

# Subtraction is what the small model finds hardest.
_SIGNS = "+----*/"
OPERATORS: dict[str, Callable[[int, int], int]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.floordiv,
}


@dataclass(frozen=True)
class Step:
    """One equation of a solution, such as ``12 - 5 = 7``."""

    operator: str
    left: int
    right: int
    result: int

    def __str__(self) -> str:
        """The equation as the reasoning writes it."""
        return f"{self.left} {self.operator} {self.right} = {self.result}"


@dataclass(frozen=True)
class Template:
    """One story of the catalogue without its wording."""

    id: str
    split: str
    n_persons: int
    nouns: tuple[str, ...]
    slots: Mapping[str, list[int] | str]
    where: tuple[str, ...]
    most: int
    solution: tuple[str, ...]

    @property
    def persons(self) -> tuple[str, ...]:
        """The placeholders of the persons: ``N1``, ``N2``."""
        return tuple(f"N{index + 1}" for index in range(self.n_persons))

    @property
    def mentioned(self) -> tuple[str, ...]:
        """The slots that the question names; ``q`` only makes a division exact."""
        return tuple(slot for slot in self.slots if slot != "q")


@dataclass(frozen=True)
class Problem:
    """One drawn problem: everything that is the same in all languages."""

    id: str
    template: Template
    persons: Mapping[str, str]
    genders: Mapping[str, str]
    noun: str | None
    values: Mapping[str, int]
    in_words: frozenset[str]
    steps: tuple[Step, ...]

    @property
    def answer(self) -> str:
        """The result of the last step, as text."""
        return str(self.steps[-1].result)

    @property
    def reasoning(self) -> str:
        """The English reasoning: the equations, then the answer."""
        return " ".join(f"{step}." for step in self.steps) + f" The answer is {self.answer}."


@dataclass(frozen=True)
class Drill:
    """Bare sums: arithmetic without a story, for the language model alone."""

    id: str
    steps: tuple[Step, ...]

    @property
    def question(self) -> str:
        """The sums without their results."""
        return " ".join(f"{step.left} {step.operator} {step.right}" for step in self.steps)

    @property
    def reasoning(self) -> str:
        """The sums with their results."""
        return " ".join(f"{step}." for step in self.steps)


@dataclass(frozen=True)
class Catalogue:
    """The persons, nouns and templates that all languages share."""

    genders: Mapping[str, str]
    names: Mapping[str, tuple[str, ...]]
    groups: Mapping[str, tuple[str, ...]]
    templates: Mapping[str, Template]

    @property
    def nouns(self) -> tuple[str, ...]:
        """All nouns."""
        return tuple(noun for group in self.groups.values() for noun in group)

    @classmethod
    def load(cls, path: Path) -> Catalogue:
        """Read ``catalogue.yaml``.

        Raises:
            CatalogueError: A key is unknown or missing, or names overlap between splits.
        """
        data = load_mapping(path, {"persons", "nouns", "templates"})
        names = {split: tuple(people) for split, people in data["persons"].items()}
        if set(names["train"]) & set(names["test"]):
            raise CatalogueError(f"{path.name}: persons: train and test share a name")
        return cls(
            genders={
                name: sex for people in data["persons"].values() for name, sex in people.items()
            },
            names={"train": names["train"], "dev": names["train"], "test": names["test"]},
            groups=data["nouns"],
            templates={
                key: _template(path, key, entry, data["nouns"])
                for key, entry in data["templates"].items()
            },
        )

    def with_english(self, path: Path) -> tuple[Catalogue, dict[str, str]]:
        """Read the stories of ``english.yaml``: the same persons and nouns, and their sentences.

        Raises:
            CatalogueError: A story is not valid, or its name is taken.
        """
        stories = load_entries(path)
        if taken := set(stories) & set(self.templates):
            raise CatalogueError(f"{path.name}: {sorted(taken)} are names of the catalogue")
        sentences = {key: str(entry.pop("text", "")) for key, entry in stories.items()}
        templates = {
            key: _template(path, key, {**entry, "split": "english"}, self.groups)
            for key, entry in stories.items()
        }
        names = {**self.names, "english": self.names["train"]}
        return replace(self, templates=templates, names=names), sentences


def _template(
    path: Path, key: str, entry: Mapping[str, Any], groups: Mapping[str, Any]
) -> Template:
    known = {"split", "persons", "nouns", "slots", "where", "most", "solution"}
    unknown = set(entry) - known
    if unknown:
        raise CatalogueError(f"{path.name}: templates.{key}: unknown keys {sorted(unknown)}")
    return Template(
        id=key,
        split=entry["split"],
        n_persons=entry["persons"],
        nouns=tuple(noun for group in entry.get("nouns", []) for noun in groups[group]),
        slots=entry["slots"],
        where=tuple(entry.get("where", [])),
        most=entry.get("most", DEFAULT_MOST),
        solution=tuple(entry["solution"]),
    )


def is_held_out(number: int) -> bool:
    """Whether a number is kept for dev and test: 11, 15, 19, 23, 27 and so on."""
    return number >= 11 and number % 4 == 3


def is_test_step(step: Step) -> bool:
    """Whether an equation is kept for dev and test, so that no split shares one with train.

    Where an intermediate result is no held-out number, a fifth is kept by a residue.
    """
    held_out = is_held_out(step.left) or is_held_out(step.right)
    return held_out or (not is_table_fact(step) and (step.left + 2 * step.right) % 5 == 0)


def is_table_fact(step: Step) -> bool:
    """Whether both operands are at most 10: such facts are too few to keep any from training."""
    return max(step.left, step.right) <= 10


def draw(catalogue: Catalogue, split: str, size: int) -> list[Problem]:
    """Draw the problems of a split, in the order of their ids; templates take turns."""
    templates = [entry for entry in catalogue.templates.values() if entry.split == split]
    sources = [_problems_of(catalogue, template) for template in templates]
    problems = []
    for index in range(size):
        fields = next(sources[index % len(sources)])
        problems.append(Problem(id=f"{split}-{index:04d}", **fields))
    return problems


def draw_drills(count: int) -> list[Drill]:
    """Draw bare sums that keep to the number rule of the training problems."""
    rng = random.Random(f"{SEED}:drills")
    return [
        Drill(f"drill-{index:04d}", tuple(_draw_sum(rng) for _ in range(SUMS_PER_DRILL)))
        for index in range(count)
    ]


def _draw_sum(rng: random.Random) -> Step:
    while True:
        sign = rng.choice(_SIGNS)
        small, large = rng.randint(2, 11), rng.randint(2, 99)
        left, right = {
            "+": (large, rng.randint(2, 40)),
            "-": (large, rng.randint(2, 40)),
            "*": (rng.randint(2, 11), small),
            "/": (rng.randint(2, 11) * small, small),
        }[sign]
        step = Step(sign, left, right, OPERATORS[sign](left, right))
        if step.result >= 1 and not is_test_step(step):
            return step


def _problems_of(catalogue: Catalogue, template: Template) -> Iterator[dict[str, Any]]:
    """Endless distinct problems of one template; each template has its own random stream."""
    rng = random.Random(f"{SEED}:{template.id}")
    seen = set()
    for _ in range(MAX_TRIES):
        values = _draw_values(rng, template.slots)
        steps = _solve(template, values)
        key = tuple(values[slot] for slot in template.mentioned)
        if steps is None or key in seen or not _fits_split(template, values, steps):
            continue
        seen.add(key)
        people = rng.sample(catalogue.names[template.split], template.n_persons)
        persons = dict(zip(template.persons, people, strict=True))
        yield {
            "template": template,
            "persons": persons,
            "genders": {key: catalogue.genders[name] for key, name in persons.items()},
            "noun": rng.choice(template.nouns) if template.nouns else None,
            "values": values,
            "in_words": frozenset(
                slot
                for slot in template.mentioned
                if values[slot] in WORDS and rng.random() < WORD_SHARE
            ),
            "steps": steps,
        }
    raise CatalogueError(
        f"catalogue.yaml: templates.{template.id}: only {len(seen)} problems fit "
        "the ranges; widen a slot"
    )


def _draw_values(rng: random.Random, slots: Mapping[str, list[int] | str]) -> dict[str, int]:
    values: dict[str, int] = {}
    for slot, source in slots.items():
        values[slot] = (
            _evaluate(source, values) if isinstance(source, str) else rng.randint(*source)
        )
    return values


def _evaluate(expression: str, values: Mapping[str, int]) -> int:
    """Evaluate ``c * q + b`` from left to right."""
    first, *rest = expression.split()
    result = values[first]
    for sign, slot in zip(rest[::2], rest[1::2], strict=True):
        result = OPERATORS[sign](result, values[slot])
    return result


def _solve(template: Template, values: Mapping[str, int]) -> tuple[Step, ...] | None:
    """The equations of a problem, or None if the numbers do not make a sensible one."""
    if any(not 2 <= values[slot] <= 99 for slot in template.mentioned):
        return None
    if any(not _holds(condition, values) for condition in template.where):
        return None
    steps: list[Step] = []
    known = dict(values)
    for expression in template.solution:
        left, sign, right = expression.split()
        x, y = known[left], known[right]
        if sign == "/" and x % y:
            return None
        result = OPERATORS[sign](x, y)
        if not 1 <= result <= template.most:
            return None
        steps.append(Step(sign, x, y, result))
        known["_"] = result
    if known["_"] in (values[slot] for slot in template.mentioned):
        return None  # copying a number out of the question must never be a right answer
    return tuple(steps)


def _holds(condition: str, values: Mapping[str, int]) -> bool:
    left, sign, right = condition.split()
    if sign != ">":
        raise CatalogueError(f"catalogue.yaml: where: {condition!r}: only '>' is known")
    return values[left] > values[right]


def _fits_split(template: Template, values: Mapping[str, int], steps: tuple[Step, ...]) -> bool:
    """The number rule: train never sees a held-out number or equation.

    Dev and test state only held-out numbers and those below 10, and of equations that train may
    have only facts of two numbers up to 10.
    """
    if template.split in ("train", "english"):
        return not any(is_test_step(step) for step in steps)
    stated = [values[slot] for slot in template.mentioned]
    return all(is_test_step(step) or is_table_fact(step) for step in steps) and all(
        number < 10 or is_held_out(number) for number in stated
    )
