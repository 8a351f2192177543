"""Draw language-neutral word problems from the catalogue: who, what, which numbers."""

from __future__ import annotations

import operator
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from strict_yaml import CatalogueError, load_mapping

SEED = 20260
SIZES = {"train": 1600, "dev": 60, "test": 250}
WORDS = range(2, 13)
"""Numbers that may be written as words; every language needs a word for each."""
WORD_SHARE = 0.25
MAX_TRIES = 50_000
DEFAULT_MOST = 120

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
class Catalogue:
    """The persons, nouns and templates that all languages share."""

    genders: Mapping[str, str]
    names: Mapping[str, tuple[str, ...]]
    nouns: tuple[str, ...]
    templates: Mapping[str, Template]

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
            nouns=tuple(noun for group in data["nouns"].values() for noun in group),
            templates={
                key: _template(path, key, entry, data["nouns"])
                for key, entry in data["templates"].items()
            },
        )


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


def draw(catalogue: Catalogue, split: str) -> list[Problem]:
    """Draw all problems of a split, in the order of their ids; templates take turns."""
    templates = [entry for entry in catalogue.templates.values() if entry.split == split]
    sources = [_problems_of(catalogue, template) for template in templates]
    problems = []
    for index in range(SIZES[split]):
        fields = next(sources[index % len(sources)])
        problems.append(Problem(id=f"{split}-{index:04d}", **fields))
    return problems


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
    if template.split == "train":
        return not any(is_test_step(step) for step in steps)
    stated = [values[slot] for slot in template.mentioned]
    return all(is_test_step(step) or is_table_fact(step) for step in steps) and all(
        number < 10 or is_held_out(number) for number in stated
    )
