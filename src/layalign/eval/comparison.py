"""Put LayAlign and the bare language model side by side, per language and for groups of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from layalign.data import check_language, language_name
from layalign.errors import ConfigError
from layalign.eval.results import EvaluationResult

ENGLISH = "en"


def compare(
    layalign: EvaluationResult | None,
    bare: EvaluationResult | None = None,
    *,
    trained: Collection[str] | None = None,
    groups: Mapping[str, Collection[str]] | None = None,
) -> dict[str, Any]:
    """Compare two evaluations on the same examples.

    Args:
        layalign: Of LayAlign; None if there is only a language model.
        bare: Of the language model alone; None if it was not evaluated.
        trained: Languages that were trained on in any stage; None if not known.
        groups: Further groups of languages to average over, such as ``low_resource``.

    Returns:
        Plain values. ``languages``: for each tag ``name``, ``items``, ``trained``, ``layalign``
        and ``bare`` (fields of :class:`LanguageResult` or :class:`TranslationResult`), ``gain``
        (points of accuracy or chrF) and ``share_of_english`` (percent of the English score, the
        bare model's if it was evaluated). ``averages``: for each group ``languages``,
        ``layalign``, ``bare`` and ``gain`` (fields of :class:`Estimate`); the groups are ``all``,
        ``non_english``, ``trained`` (without English) and ``never_trained`` if ``trained`` is
        known, and those given. What is not known is None; empty groups are left out.

    Raises:
        ConfigError: There is neither.
    """
    main = layalign or bare
    if main is None:
        raise ConfigError("there is no evaluation to compare; give at least one")
    known = None if trained is None else {check_language(tag) for tag in trained}
    tags = list(main.languages)
    return {
        "languages": {tag: _row(tag, main, layalign, bare, known) for tag in tags},
        "averages": {
            group: _average(chosen, layalign, bare)
            for group, chosen in language_groups(tags, known, groups).items()
        },
    }


def language_groups(
    tags: Sequence[str],
    trained: Collection[str] | None,
    groups: Mapping[str, Collection[str]] | None = None,
) -> dict[str, list[str]]:
    """Say which languages are averaged; see :func:`compare`. Empty groups are left out."""
    others = [tag for tag in tags if tag != ENGLISH]
    members = {"all": list(tags), "non_english": others}
    if trained is not None:
        members["trained"] = [tag for tag in others if tag in trained]
        members["never_trained"] = [tag for tag in others if tag not in trained]
    for group, chosen in (groups or {}).items():
        wanted = {check_language(tag) for tag in chosen}
        members[group] = [tag for tag in tags if tag in wanted]
    return {group: chosen for group, chosen in members.items() if chosen}


def _row(
    tag: str,
    main: EvaluationResult,
    layalign: EvaluationResult | None,
    bare: EvaluationResult | None,
    trained: set[str] | None,
) -> dict[str, Any]:
    ours, theirs = layalign and layalign.languages[tag], bare and bare.languages[tag]
    english = (bare or main).languages.get(ENGLISH)
    reference = english.score.value if english else 0.0
    own = main.languages[tag]
    return {
        "name": language_name(tag),
        "items": own.items,
        "trained": None if trained is None else tag in trained,
        "bare": asdict(theirs) if theirs else None,
        "layalign": asdict(ours) if ours else None,
        "gain": ours.score.value - theirs.score.value if ours and theirs else None,
        "share_of_english": 100 * own.score.value / reference if reference else None,
    }


def _average(
    tags: Sequence[str], layalign: EvaluationResult | None, bare: EvaluationResult | None
) -> dict[str, Any]:
    return {
        "languages": list(tags),
        "bare": asdict(bare.average(tags)) if bare else None,
        "layalign": asdict(layalign.average(tags)) if layalign else None,
        "gain": asdict(layalign.gain(bare, tags)) if layalign and bare else None,
    }
