from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from layalign.errors import ConfigError, DataError
from layalign.report.examples import examples_of
from layalign.report.reading import read_folder
from report_folders import (
    ITEMS,
    LANGUAGES,
    METHODS,
    evaluation,
    is_right,
    write,
    write_results,
    write_run,
)


def test_comparison(comparison: Path) -> None:
    contents = read_folder(comparison)
    (scores,) = contents.scores
    assert [method.label for method in scores.methods] == list(METHODS.values())
    assert [language.name for language in scores.languages] == list(LANGUAGES.values())
    assert scores.reference == "LayAlign"
    assert scores.unit == "%"
    assert scores.is_tested
    base, _, ours = scores.methods
    assert base.languages["sw"].value == 10
    assert base.versus is not None
    assert base.versus["all"].verdict == "worse"
    assert ours.versus is None
    assert base.predictions == comparison / "base-seed1" / "predictions" / "bare_llm.jsonl"
    assert len(contents.runs) == 6
    assert contents.commands[0].startswith("layalign compare")


def test_run(run: Path) -> None:
    contents = read_folder(run)
    (scores,) = contents.scores
    assert [method.name for method in scores.methods] == ["bare_llm", "layalign"]
    ours = scores.methods[1]
    assert ours.versus is not None
    assert ours.versus["all"].figure.value == 30
    (found,) = contents.runs
    assert list(found.stages) == ["task"]  # the lexical start has no losses
    assert found.stages["task"].dev == ((200, 0.01), (400, 0.005))
    assert found.weights is None


def test_run_under_way(run: Path) -> None:
    (run / "summary.json").unlink()
    contents = read_folder(run)
    assert not contents.scores
    assert contents.runs[0].facts["State"] == "not finished"


def test_run_of_earlier_version(run: Path) -> None:
    """Without a system and without predictions."""
    summary = json.loads((run / "summary.json").read_text("utf-8"))
    del summary["system"]
    write(run / "summary.json", summary)
    shutil.rmtree(run / "predictions")
    (scores,) = read_folder(run).scores
    assert [method.label for method in scores.methods] == ["Bare LLM", "LayAlign"]
    assert examples_of(scores) is None


@pytest.mark.parametrize(
    ("method", "name", "label"),
    [
        ("multilingual_lora", "multilingual_lora", "Multilingual LoRA"),
        ("qalign", "qalign", "QAlign"),
        ("base", "bare_llm", "Bare LLM"),
        ("layalign", "bare_llm", "Bare LLM"),  # of a recipe with the fine-tune alone
        ("mindmerger", "bare_llm", "Bare LLM"),
    ],
)
def test_run_of_a_plain_language_model(tmp_path: Path, method: str, name: str, label: str) -> None:
    folder = write_run(
        tmp_path / "run", system="bare_llm", evaluation=evaluation(30, None), method=method
    )
    (scores,) = read_folder(folder).scores
    (found,) = scores.methods
    assert (found.name, found.label) == (name, label)
    assert found.predictions == folder / "predictions" / "bare_llm.jsonl"
    assert scores.reference == "Bare LLM"


@pytest.mark.parametrize(
    ("method", "system", "label"),
    [
        ("mindmerger", "layalign", "MindMerger"),
        ("langbridge", "layalign", "LangBridge"),
        ("translate_test", "translate-test", "Translate-Test"),
        ("layalign", "layalign", "LayAlign"),
    ],
)
def test_run_of_another_method(tmp_path: Path, method: str, system: str, label: str) -> None:
    folder = write_run(
        tmp_path / "run", system=system, evaluation=evaluation(10, 40), method=method
    )
    (scores,) = read_folder(folder).scores
    assert [(m.name, m.label) for m in scores.methods] == [
        ("bare_llm", "Bare LLM"),
        (method, label),
    ]
    assert scores.methods[1].predictions == folder / "predictions" / f"{system}.jsonl"


@pytest.mark.parametrize(
    ("ours", "method", "labels"),
    [
        (42, "langbridge", ["Bare LLM", "LangBridge"]),
        (42, None, ["Bare LLM", "LayAlign"]),
        (None, "multilingual_sft", ["Multilingual SFT"]),
        (None, "mindmerger_hard", ["MindMerger-Hard"]),
        (None, "mindmerger", ["Bare LLM"]),  # the language model that it has left as it was
        (None, "translate_test", ["Bare LLM"]),
        (None, "unheard_of", ["Bare LLM"]),
        (None, None, ["Bare LLM"]),
    ],
)
def test_evaluation_of_another_method(
    tmp_path: Path, ours: float | None, method: str | None, labels: list[str]
) -> None:
    folder = write_results(tmp_path / "results", ours=ours, method=method)
    (scores,) = read_folder(folder).scores
    assert [m.label for m in scores.methods] == labels


def test_facts_of_a_run(run: Path) -> None:
    """Of parts that the recipe names and the method may not have, nothing is said."""
    facts = read_folder(run).runs[0].facts
    assert not {"Encoder", "Aligner"} & set(facts)
    assert facts["Training, minutes"] == "1.5"
    assert facts["Trained parameters, last stage"] == "4,321"
    summary = json.loads((run / "summary.json").read_text("utf-8"))
    del summary["training_seconds"]
    write(run / "summary.json", summary)
    assert "Training, minutes" not in read_folder(run).runs[0].facts


def test_facts_of_a_checkpoint(checkpoint: Path) -> None:
    recipe = "model: {encoder: another, aligner: mlp}\n"
    (checkpoint / "recipe.yaml").write_text(recipe, "utf-8")
    config = json.loads((checkpoint / "config.json").read_text("utf-8"))
    write(checkpoint / "config.json", {**config, "encoder": "e5"})
    facts = read_folder(checkpoint).runs[0].facts
    assert (facts["Encoder"], facts["Aligner"]) == ("e5", "linear")


def test_notes_of_a_comparison(comparison: Path) -> None:
    """The unit of the budget is in the title, seeds that are missing are named."""
    values = json.loads((comparison / "comparison.json").read_text("utf-8"))
    values["equal"] = {"kind": "time", "budget": 20.0}
    values["methods"]["mindmerger"]["seeds"] = [2]
    write(comparison / "comparison.json", values)
    (scores,) = read_folder(comparison).scores
    assert scores.title == "Comparison of methods: tiny, 20 minutes each"
    assert scores.notes == (
        "The budget is for a method's stages beside the fine-tune. Seeds 1, 2.",
        "So few seeds say little about others: read better, worse and within noise as being about "
        "these.",
        "MindMerger: seed 2 only.",
    )


def test_weights(checkpoint: Path) -> None:
    (run,) = read_folder(checkpoint).runs
    weights = run.weights
    assert weights is not None
    assert len(weights.gates) == len(weights.language_layers)
    assert weights.keys is not None
    assert weights.keys.shape[1] == len(weights.encoder_layers)


def test_evaluation_without_tasks(results: Path) -> None:
    """What stands in a task then stands at the top, and the settings name it."""
    values = json.loads((results / "results.json").read_text("utf-8"))
    task = values.pop("tasks")["mgsm"]
    write(results / "results.json", {**values, **task})
    (scores,) = read_folder(results).scores
    assert scores.title == "mgsm"
    assert scores.methods[1].predictions == results / "mgsm.layalign.jsonl"


def test_examples_side_by_side(comparison: Path) -> None:
    (scores,) = read_folder(comparison).scores
    examples = examples_of(scores)
    assert examples is not None
    assert examples["methods"] == list(METHODS.values())
    assert len(examples["items"]) == ITEMS * len(LANGUAGES)
    for item in examples["items"]:
        number = int(item["question"].rsplit("(", 1)[1].rstrip(")"))
        assert [answer[0] for answer in item["answers"]] == [0, 1, 2]
        assert [answer[3] for answer in item["answers"]] == [
            is_right(name, number) for name in METHODS
        ]


def test_question_asked_twice(run: Path) -> None:
    path = run / "predictions" / "layalign.jsonl"
    first = json.loads(path.read_text("utf-8").splitlines()[0])
    lines = [json.dumps({**first, "index": index}) for index in (0, 1)]
    for slug in ("layalign", "bare_llm"):
        path.with_name(f"{slug}.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    examples = examples_of(read_folder(run).scores[0])
    assert examples is not None
    assert [len(item["answers"]) for item in examples["items"]] == [2, 2]


def test_torn_last_line(run: Path) -> None:
    path = run / "predictions" / "layalign.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    examples = examples_of(read_folder(run).scores[0])
    assert examples is not None
    assert [len(item["answers"]) for item in examples["items"]].count(1) == 1


def read_all(folder: Path) -> None:
    for scores in read_folder(folder).scores:
        examples_of(scores)


def refused(folder: Path, error: type[Exception], *words: str) -> None:
    with pytest.raises(error) as caught:
        read_all(folder)
    for word in words:
        assert word in str(caught.value)


def test_missing_folder(tmp_path: Path) -> None:
    refused(tmp_path / "no", ConfigError, "no is not a folder", "comparison.json")


def test_nothing_of_ours(tmp_path: Path) -> None:
    refused(tmp_path, ConfigError, "holds nothing that a report shows", "recipe.yaml")


def test_unfinished_evaluation(results: Path) -> None:
    (results / "results.json").unlink()
    refused(results, ConfigError, "not finished", "--resume")


def test_other_schema(comparison: Path) -> None:
    values = json.loads((comparison / "comparison.json").read_text("utf-8"))
    write(comparison / "comparison.json", {**values, "schema": 2})
    refused(comparison, ConfigError, "schema 2", "reads 1")


@pytest.mark.parametrize("content", ["{", "[]", '{"schema": NaN}', '{"schema": 1e999}', "\udcff"])
def test_damaged_json(comparison: Path, content: str) -> None:
    path = comparison / "comparison.json"
    path.write_text(content, "utf-8", "surrogateescape")
    refused(comparison, DataError, str(path))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("methods", []),
        ("methods", {"layalign": {}}),
        ("languages", {"sw": {"name": "Swahili", "items": "many", "trained": None}}),
        ("equal", None),
        ("groups", 3),
    ],
)
def test_unexpected_values(comparison: Path, key: str, value: Any) -> None:
    path = comparison / "comparison.json"
    values = json.loads(path.read_text("utf-8"))
    write(path, {**values, key: value})
    refused(comparison, DataError, str(path))


@pytest.mark.parametrize("key", ["comparison.json", "base-seed1/summary.json"])
def test_damaged_files_are_named(comparison: Path, key: str) -> None:
    (comparison / key).write_text("{", "utf-8")
    refused(comparison, DataError, str(comparison / key))


@pytest.mark.parametrize(
    "line", ["{}", "3", "[]", '{"index": "a"}', '{"index": 0, "language": 3}', "\x00"]
)
def test_damaged_predictions(run: Path, line: str) -> None:
    path = run / "predictions" / "layalign.jsonl"
    first = path.read_text("utf-8").splitlines()[0]
    path.write_text(f"{first}\n{line}\n", "utf-8")
    refused(run, DataError, f"{path}, line 2")


@pytest.mark.parametrize("name", ["../run", "/", "runs/../../run"])
def test_files_name_only_what_is_beside_them(comparison: Path, results: Path, name: str) -> None:
    file = comparison / "comparison.json"
    values = json.loads(file.read_text("utf-8"))
    values["methods"]["layalign"]["runs"] = {"1": name}
    write(file, values)
    write(results / "results.json", {"tasks": {name: {}}})
    for folder in (comparison, results):
        with pytest.raises(DataError, match=f"names '{name}.*', which is not in it"):
            read_folder(folder)
