"""Bring scores on the same questions together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from layalign.report.records import Language, Method, Scores
from layalign.report.summaries import BARE

_Groups = Mapping[str, tuple[str, ...]]


def merged(found: Sequence[Scores]) -> tuple[Scores, ...]:
    """Put scores on the same questions into one; a bare LLM that stands in several is kept once.

    Where two methods have one label, or two scores one title, their folders are added to it. A
    group is what it is in the first of the scores; averages over others are left out.
    """
    together: dict[str, list[Scores]] = {}
    for scores in found:
        together.setdefault(scores.asked, []).append(scores)
    joined = [_join(parts) for parts in together.values()]
    titles = [scores.title for scores in joined]
    return tuple(
        scores if titles.count(scores.title) == 1 else replace(scores, title=_full_title(scores))
        for scores in joined
    )


def _full_title(scores: Scores) -> str:
    sources = dict.fromkeys(method.source for method in scores.methods)
    return f"{scores.title} ({', '.join(sources)})"


def _join(parts: Sequence[Scores]) -> Scores:
    if len(parts) == 1:
        return parts[0]
    groups: dict[str, tuple[str, ...]] = {}
    for scores in parts:
        groups = {**scores.groups, **groups}
    methods = _kept(method for scores in parts for method in _comparable(scores, groups))
    labels, reference = [method.label for method in methods], parts[0].reference
    return replace(
        parts[0],
        reference=reference + (" of the same folder" if labels.count(reference) > 1 else ""),
        languages=_languages(parts),
        groups=groups,
        methods=_told_apart(methods),
        notes=tuple(note for scores in parts for note in scores.notes),
    )


def _comparable(scores: Scores, groups: _Groups) -> tuple[Method, ...]:
    """The methods without figures of groups that have other members in the table."""
    same = {group for group, tags in scores.groups.items() if set(tags) == set(groups[group])}
    return tuple(
        replace(
            method,
            averages={g: figure for g, figure in method.averages.items() if g in same},
            versus=method.versus and {g: row for g, row in method.versus.items() if g in same},
        )
        for method in scores.methods
    )


def _kept(methods: Iterable[Method]) -> list[Method]:
    """All methods, of bare LLMs with the same scores the first."""
    kept: list[Method] = []
    for method in methods:
        twins = (m for m in kept if m.name == BARE and m.languages == method.languages)
        if method.name != BARE or not any(twins):
            kept.append(method)
    return kept


def _told_apart(methods: Sequence[Method]) -> tuple[Method, ...]:
    labels = [method.label for method in methods]
    sources = {method.source for method in methods}
    is_clear = len({Path(source).name for source in sources}) == len(sources)
    return tuple(
        m
        if labels.count(m.label) == 1
        else replace(m, label=f"{m.label} ({Path(m.source).name if is_clear else m.source})")
        for m in methods
    )


def _languages(parts: Sequence[Scores]) -> tuple[Language, ...]:
    """All languages; which were trained on is shown where all parts agree."""
    found: dict[str, Language] = {}
    for language in (language for scores in parts for language in scores.languages):
        before = found.setdefault(language.tag, language)
        if before.trained != language.trained:
            found[language.tag] = replace(before, trained=None)
    return tuple(found.values())
