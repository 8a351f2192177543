"""Scores on the same questions stand in one table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from layalign.report.merging import merged
from layalign.report.reading import read_folder
from layalign.report.records import Scores
from report_folders import LANGUAGES, evaluation, write, write_results, write_run


def together(*folders: Path) -> tuple[Scores, ...]:
    return merged([scores for folder in folders for scores in read_folder(folder).scores])


def test_same_questions_come_together(results: Path, tmp_path: Path) -> None:
    other = write_results(tmp_path / "other", ours=50)
    plain = write_results(tmp_path / "plain", ours=None, bare=30)
    (scores,) = together(results, other, plain)
    labels = {m.label: m.averages["all"].value for m in scores.methods}
    assert labels == {
        "Bare LLM (results)": 25,  # that of the second folder is the same
        "LayAlign (results)": 42,
        "LayAlign (other)": 50,
        "Bare LLM (plain)": 30,
    }


def test_only_the_bare_llm_is_dropped(results: Path, tmp_path: Path) -> None:
    """Two trainings may well answer equally often right."""
    other = write_results(tmp_path / "other", ours=42)
    (scores,) = together(results, other)
    labels = [m.label for m in scores.methods]
    assert labels == ["Bare LLM", "LayAlign (results)", "LayAlign (other)"]


def test_methods_come_together(tmp_path: Path) -> None:
    """What they are compared with is the bare LLM, also if another method is named first."""
    tuned = write_results(tmp_path / "tuned", ours=None, bare=33, method="qalign")
    rival = write_results(tmp_path / "rival", ours=50, method="mindmerger")
    (scores,) = together(tuned, rival)
    assert [m.label for m in scores.methods] == ["QAlign", "Bare LLM", "MindMerger"]
    assert scores.reference == "Bare LLM"


def test_other_questions_stay_apart(results: Path, run: Path) -> None:
    found = read_folder(results).scores + read_folder(run).scores
    assert merged(found) == found


@pytest.mark.parametrize(
    ("facts", "parts"),
    [
        ({}, 1),
        ({"data": "elsewhere/mgsm"}, 1),  # the same files in another place
        ({"split": "dev"}, 2),
        ({"limit": 3}, 2),
        ({"data_sha256": {"mgsm": "1"}}, 2),
    ],
)
def test_what_makes_questions_the_same(
    results: Path, tmp_path: Path, facts: dict[str, Any], parts: int
) -> None:
    other = write_results(tmp_path / "other", ours=50, **facts)
    assert len(together(results, other)) == parts


def test_sets_of_the_hub_are_told_by_their_name(tmp_path: Path) -> None:
    """They have no hash."""
    folders = [
        write_results(tmp_path / str(number), ours=50, data=data, data_sha256={})
        for number, data in enumerate(("juletxara/mgsm", "juletxara/mgsm", "other/mgsm"))
    ]
    assert len(together(*folders)) == 2


def test_other_languages_are_other_questions(results: Path, tmp_path: Path) -> None:
    other = write_results(tmp_path / "other", ours=50)
    values = json.loads((other / "results.json").read_text("utf-8"))
    del values["tasks"]["mgsm"]["languages"]["th"]
    write(other / "results.json", values)
    found = together(results, other)
    assert [scores.title for scores in found] == [f"mgsm ({results})", f"mgsm ({other})"]


def trained_on(folder: Path, tags: set[str], value: float) -> Path:
    """A run that was trained on some of the languages."""
    measured = evaluation(10, value)
    row = measured["averages"]["all"]
    for tag, language in measured["languages"].items():
        language["trained"] = tag in tags
    for group, members in (("trained", tags), ("never_trained", LANGUAGES.keys() - tags)):
        measured["averages"][group] = {**row, "languages": sorted(members)}
    return write_run(folder, system="layalign", evaluation=measured)


def test_averages_over_other_languages_are_left_out(tmp_path: Path) -> None:
    one = trained_on(tmp_path / "one", {"en", "sw"}, 40)
    same = trained_on(tmp_path / "same", {"sw", "en"}, 45)
    other = trained_on(tmp_path / "other", {"en", "bn"}, 50)
    (scores,) = together(one, same, other)
    assert scores.groups["trained"] == ("en", "sw")
    methods = {m.label: m for m in scores.methods}
    for name in ("one", "same"):
        method = methods[f"LayAlign ({name})"]
        assert set(method.averages) == set(method.versus or ()) == set(scores.groups)
    method = methods["LayAlign (other)"]
    assert set(method.averages) == set(method.versus or ()) == {"all"}
    trained = {language.tag: language.trained for language in scores.languages}
    assert trained == {"en": True, "sw": None, "ar": False, "bn": None, "th": False}


def test_order_of_the_folders_decides_what_a_group_is(tmp_path: Path) -> None:
    one = trained_on(tmp_path / "one", {"en", "sw"}, 40)
    other = trained_on(tmp_path / "other", {"en", "bn"}, 50)
    (scores,) = together(other, one)
    assert scores.groups["trained"] == ("bn", "en")
    assert "trained" in scores.methods[1].averages
