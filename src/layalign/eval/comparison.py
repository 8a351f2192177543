"""Put LayAlign beside the bare language model, per language and for groups of languages."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict
from typing import Any

from layalign.data import check_language, language_name
from layalign.eval.metrics import macro_average
from layalign.eval.results import EvaluationResult

ENGLISH = "en"


def compare(
    layalign: EvaluationResult,
    bare: EvaluationResult | None = None,
    *,
    trained: Collection[str] | None = None,
) -> dict[str, Any]:
    """Compare two evaluations on the same examples.

    Args:
        layalign: Of LayAlign.
        bare: Of the language model alone; None if it was not evaluated.
        trained: Languages that LayAlign was trained on in any stage; None if not known.

    Returns:
        Plain values. ``languages``: for each tag ``name``, ``items``, ``trained``, ``layalign``
        and ``bare`` (fields of :class:`LanguageResult`), ``gain`` (points) and
        ``share_of_english`` (percent of the English score, the bare model's if it was
        evaluated). ``averages``: for each group ``languages``, ``layalign``, ``bare`` and
        ``gain`` (fields of :class:`Estimate`); the groups are ``all``, ``non_english`` and, if
        ``trained`` is known, ``trained`` (without English) and ``never_trained``. What is not
        known is None; empty groups are left out.
    """
    known = None if trained is None else {check_language(tag) for tag in trained}
    return {
        "languages": {tag: _row(tag, layalign, bare, known) for tag in layalign.languages},
        "averages": {
            group: _average(tags, layalign, bare)
            for group, tags in _groups(list(layalign.languages), known).items()
            if tags
        },
    }


def _row(
    tag: str, layalign: EvaluationResult, bare: EvaluationResult | None, trained: set[str] | None
) -> dict[str, Any]:
    ours, theirs = layalign.languages[tag], bare.languages[tag] if bare else None
    english = (bare or layalign).languages.get(ENGLISH)
    reference = english.accuracy if english else 0.0
    return {
        "name": language_name(tag),
        "items": ours.items,
        "trained": None if trained is None else tag in trained,
        "bare": asdict(theirs) if theirs else None,
        "layalign": asdict(ours),
        "gain": ours.accuracy - theirs.accuracy if theirs else None,
        "share_of_english": 100 * ours.accuracy / reference if reference else None,
    }


def _groups(tags: Sequence[str], trained: set[str] | None) -> dict[str, list[str]]:
    others = [tag for tag in tags if tag != ENGLISH]
    groups = {"all": list(tags), "non_english": others}
    if trained is not None:
        groups["trained"] = [tag for tag in others if tag in trained]
        groups["never_trained"] = [tag for tag in others if tag not in trained]
    return groups


def _average(
    tags: Sequence[str], layalign: EvaluationResult, bare: EvaluationResult | None
) -> dict[str, Any]:
    average: dict[str, Any] = {
        "languages": list(tags),
        "bare": None,
        "layalign": asdict(layalign.average(tags)),
        "gain": None,
    }
    if bare is not None:
        differences = {}
        for tag in tags:
            theirs = bare.scores(tag)
            differences[tag] = {i: s - theirs[i] for i, s in layalign.scores(tag).items()}
        average |= {
            "bare": asdict(bare.average(tags)),
            "gain": asdict(macro_average(differences)),
        }
    return average
