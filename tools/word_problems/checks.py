"""Check a language file against the catalogue and English; every problem names file and key."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from language import Language
from placeholders import NOUN, Pattern, mentions, subjects
from sampling import WORDS, Catalogue, Problem, Template
from strict_yaml import CatalogueError


def find_problems(language: Language, english: Language, catalogue: Catalogue) -> list[str]:
    """Everything that is wrong with a language file, one line each; empty if it is complete."""
    file = language.file
    found = [
        *_keys(f"{file}: names", language.names, catalogue.genders),
        *_keys(f"{file}: nouns", language.nouns, catalogue.nouns),
        *_keys(f"{file}: templates", language.templates, catalogue.templates),
    ]
    if found:
        return found
    found += _names(language) + _classes(language) + _number_words(language)
    return found + find_sentence_problems(language, english, catalogue)


def find_sentence_problems(
    language: Language, english: Language, catalogue: Catalogue
) -> list[str]:
    """Everything that is wrong with the sentences of a language."""
    found = []
    for template in catalogue.templates.values():
        wrong = _sentence(language, english, template)
        found += wrong or _rendered(language, catalogue, template)
    return found


def _keys(where: str, found: Iterable[str], expected: Iterable[str]) -> list[str]:
    missing, unknown = set(expected) - set(found), set(found) - set(expected)
    return [f"{where}: missing {key!r}" for key in sorted(missing)] + [
        f"{where}: unknown {key!r}" for key in sorted(map(str, unknown))
    ]


def _names(language: Language) -> list[str]:
    """Two persons with one written name would blur the split between train and test names."""
    written: dict[str, str] = {}
    found = []
    for key, forms in language.names.items():
        text = str(forms.get("base"))
        if text in written:
            found.append(
                f"{language.file}: names.{key}: {text!r} is also the name of {written[text]!r}"
            )
        written[text] = key
    return found


def _classes(language: Language) -> list[str]:
    return [
        f"{language.file}: nouns.{noun}: class {forms['class']!r} is not under classes"
        for noun, forms in language.nouns.items()
        if "class" in forms and forms["class"] not in language.classes
    ]


def _number_words(language: Language) -> list[str]:
    tables = language.number_words
    found = [] if "default" in tables else [f"{language.file}: number_words: missing 'default'"]
    for table, words in tables.items():
        found += [
            f"{language.file}: number_words.{table}: missing {number}"
            for number in WORDS
            if not isinstance(words.get(number), str)
        ]
    return found


def _sentence(language: Language, english: Language, template: Template) -> list[str]:
    """Does the sentence name the right numbers, persons and noun?"""
    where = f"{language.file}: templates.{template.id}"
    pattern, model = language.templates[template.id], english.templates[template.id]
    allowed = {*template.mentioned, *template.persons, *([NOUN] if template.nouns else [])}
    found = [
        f"{where}: {{{subject}}} is not part of this story"
        for subject in sorted(subjects(pattern) - allowed)
    ]
    expected, counts = mentions(model), mentions(pattern)
    found += [
        f"{where}: {{{slot}}} is written {counts[slot]} times, in English {expected[slot]}"
        for slot in template.mentioned
        if counts[slot] != expected[slot]
    ]
    found += [
        f"{where}: {{{subject}}} is missing"
        for subject in sorted((allowed - set(template.mentioned)) - subjects(pattern))
    ]
    return found + _constant(where, pattern)


def _constant(where: str, pattern: Pattern) -> list[str]:
    digits = [part for part in pattern if isinstance(part, str) and any(map(str.isdigit, part))]
    return [f"{where}: a digit is written outside a placeholder: {part!r}" for part in digits]


def _rendered(language: Language, catalogue: Catalogue, template: Template) -> list[str]:
    """Write the sentence with every noun, name and number form; keep each distinct complaint."""
    found: dict[str, None] = {}
    for problem in _samples(language, catalogue, template):
        try:
            text = language.write(problem)
        except CatalogueError as error:
            found[str(error)] = None
            continue
        if not text or text != " ".join(text.split()) or "{" in text or "}" in text:
            found[
                f"{language.file}: templates.{template.id}: stray spaces or braces in {text!r}"
            ] = None
    return list(found)


def _samples(language: Language, catalogue: Catalogue, template: Template) -> Iterator[Problem]:
    """A problem for each noun with each kind of number, and one for each name."""
    digits = {language.category(number): number for number in range(99, 1, -1)}
    numbers = [(number, True) for number in WORDS] + [(number, False) for number in digits.values()]
    people = list(catalogue.genders)
    for noun in template.nouns or (None,):
        for number, in_words in numbers:
            yield _sample(catalogue, template, people, noun, number, in_words)
    for shift in range(len(people)):
        turned = people[shift:] + people[:shift]
        yield _sample(catalogue, template, turned, (template.nouns or (None,))[0], 5, False)


def _sample(
    catalogue: Catalogue,
    template: Template,
    people: list[str],
    noun: str | None,
    number: int,
    in_words: bool,
) -> Problem:
    persons = dict(zip(template.persons, people, strict=False))
    return Problem(
        id="check",
        template=template,
        persons=persons,
        genders={key: catalogue.genders[name] for key, name in persons.items()},
        noun=noun,
        values=dict.fromkeys(template.mentioned, number),
        in_words=frozenset(template.mentioned if in_words else ()),
        steps=(),
    )
