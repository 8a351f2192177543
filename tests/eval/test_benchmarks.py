"""Whole evaluations of a tiny checkpoint."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import factories
from layalign.data import DataSource
from layalign.errors import CheckpointError, ConfigError, DataError
from layalign.eval import evaluate_checkpoint, load_task, loading, systems
from layalign.eval.report import print_tasks
from layalign.eval.results import Answer
from layalign.model import LayAlignModel
from layalign.processing import LayAlignProcessor


@pytest.fixture
def checkpoint(processor: LayAlignProcessor, tmp_path: Path) -> Path:
    """A checkpoint whose backbones lie beside it."""
    places = {"encoder": tmp_path / "encoder", "language_model": tmp_path / "llm"}
    factories.make_encoder().save_pretrained(places["encoder"])
    factories.make_language_model().save_pretrained(places["language_model"])
    model = LayAlignModel.from_backbones(**{name: str(place) for name, place in places.items()})
    folder = tmp_path / "checkpoint"
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture
def data_file(tmp_path: Path) -> str:
    rows = [
        {"question": "12 + 3 = ?", "lang": tag, "answer": i, "id": i}
        for tag in ("en", "sw")
        for i in range(3)
    ]
    file = tmp_path / "tasks.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return str(file)


def test_evaluate_checkpoint(checkpoint: Path, data_file: str, tmp_path: Path) -> None:
    source = DataSource(path=data_file, columns={"text": "question", "language": "lang"}, limit=2)
    seen: list[tuple[int, int, str]] = []
    summary = evaluate_checkpoint(
        checkpoint,
        data=source,
        max_new_tokens=2,
        trained=["en"],
        output=tmp_path / "results" / "out.json",
        progress=lambda *a: seen.append(a),
    )
    assert list(summary["languages"]) == ["en", "sw"]
    assert summary["languages"]["sw"]["bare"]["items"] == 2
    assert summary["languages"]["sw"]["trained"] is False
    assert seen[0] == (0, 8, "LayAlign")
    assert seen[-1] == (8, 8, "bare LLM")
    saved = json.loads((tmp_path / "results" / "out.json").read_text())
    assert {name: len(rows) for name, rows in saved.pop("predictions").items()} == {
        "bare LLM": 4,
        "LayAlign": 4,
    }
    assert saved == json.loads(json.dumps(summary))


def test_evaluate_checkpoint_without_the_bare_llm(checkpoint: Path) -> None:
    summary = evaluate_checkpoint(
        checkpoint, languages=["en"], limit=2, max_new_tokens=2, base=False
    )
    assert summary["languages"]["en"]["bare"] is None
    assert (summary["data"], summary["split"]) == ("word_problems", "test")


def test_wrong_data_shows_before_models_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "load_systems", lambda _: pytest.fail("models were loaded"))
    with pytest.raises(DataError, match="no such file"):
        evaluate_checkpoint("nowhere", data=str(tmp_path / "a.jsonl"))
    with pytest.raises(DataError, match="unknown language"):
        evaluate_checkpoint("nowhere", languages=["swahilli"])
    (tmp_path / "out.json").mkdir()
    with pytest.raises(ConfigError, match="is a folder; expected the path of a file"):
        evaluate_checkpoint("nowhere", output=tmp_path / "out.json")


def test_wrong_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        evaluate_checkpoint(tmp_path, languages=["en"], limit=1)


def write_task(folder: Path, name: str, rows: list[dict[str, Any]], settings: str) -> str:
    """A task of one's own, with its data in a folder of its name."""
    data = folder / "data" / f"{name}.jsonl"
    data.parent.mkdir(exist_ok=True)
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    file = folder / f"{name}.yaml"
    file.write_text(f"name: {name}\ndata: {{path: {data}}}\n{settings}", encoding="utf-8")
    return str(file)


@pytest.fixture
def sums(tmp_path: Path) -> str:
    rows = [
        {"text": f"{i} + 3 = ?", "language": tag, "answer": i + 3, "id": i}
        for tag in ("en", "sw", "th")
        for i in range(4)
    ]
    settings = """
metric: number
templates:
  plain: {llm: "{question} answer ="}
  bare_only: {version: 2, llm: "answer =", bare: "has {question} ?"}
max_new_tokens: 3
stop: ["?"]
groups: {low_resource: [sw, th, yo]}
"""
    return write_task(tmp_path, "sums", rows, settings)


@pytest.fixture
def riddles(tmp_path: Path) -> str:
    rows = [
        {
            "text": f"{i} ?",
            "language": tag,
            "answer": "AB"[i % 2],
            "choices": ["mayai", "nne"],
        }
        for tag in ("en", "sw")
        for i in range(3)
    ]
    settings = """
metric: choice
templates: {plain: {llm: "{question} {choices} answer ="}}
scoring: loglikelihood
continuation: " {choice}"
"""
    return write_task(tmp_path, "riddles", rows, settings)


def test_tasks(tiny_checkpoint: Path, sums: str, riddles: str, tmp_path: Path) -> None:
    output = tmp_path / "out"
    seen: list[tuple[int, int, str]] = []
    summary = evaluate_checkpoint(
        tiny_checkpoint,
        tasks=[sums, riddles],
        languages=["sw", "en", "bn"],
        limit=2,
        output=output,
        progress=lambda *a: seen.append(a),
    )
    assert list(summary["tasks"]) == ["sums", "riddles"]
    task = summary["tasks"]["sums"]
    assert task["languages"]["sw"]["bare"]["items"] == 2
    assert task["missing_languages"] == ["bn"]
    assert task["averages"]["low_resource"]["languages"] == ["sw"]
    assert task["template"] == {"name": "plain", "version": 1}
    assert summary["tasks"]["riddles"]["systems"]["LayAlign"]["unparsed"] == 0
    assert seen[0] == (0, 16, "sums, LayAlign")
    assert seen[-1] == (16, 16, "riddles, bare LLM")
    assert json.loads((output / "results.json").read_text("utf-8")) == json.loads(
        json.dumps(summary)
    )
    assert (output / "results.md").read_text("utf-8").count("## ") == 2
    rows = list(csv.DictReader((output / "results.csv").read_text("utf-8").splitlines()))
    assert {row["language"] for row in rows} > {"sw", "en", "average: all", "average: low_resource"}
    assert sorted(file.name for file in output.glob("*.jsonl")) == [
        "riddles.bare_llm.jsonl",
        "riddles.layalign.jsonl",
        "sums.bare_llm.jsonl",
        "sums.layalign.jsonl",
    ]


def test_what_repeats_a_run_lies_beside_the_numbers(tiny_checkpoint: Path, sums: str) -> None:
    summary = evaluate_checkpoint(tiny_checkpoint, tasks=[sums], limit=1, base=False)
    assert {"torch", "transformers", "python", "layalign"} <= summary["versions"].keys()
    assert len(summary["weights_sha256"]) == 64
    assert summary["recipe"] is None
    assert summary["command"]
    assert list(summary["tasks"]["sums"]["data_sha256"]) == ["sums.jsonl"]


def test_a_killed_run_goes_on(
    tiny_checkpoint: Path, sums: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"tasks": [sums], "batch_size": 2, "base": False}
    whole = evaluate_checkpoint(tiny_checkpoint, output=tmp_path / "whole", **options)
    asked: list[int] = []
    answer = systems.LayAlignSystem.answer_batch
    before_the_kill = 6

    class Killed(BaseException):
        pass

    def count(self: Any, features: list[Any]) -> list[Answer]:
        if sum(asked) == before_the_kill:
            raise Killed
        asked.append(len(features))
        return answer(self, features)

    monkeypatch.setattr(systems.LayAlignSystem, "answer_batch", count)
    with pytest.raises(Killed):
        evaluate_checkpoint(tiny_checkpoint, output=tmp_path / "killed", **options)
    file = tmp_path / "killed" / "sums.layalign.jsonl"
    with file.open("a") as stream:
        stream.write('{"index": 11, "id"')  # torn
    assert len(file.read_text().splitlines()) == 7
    asked[:] = [-1]
    resumed = evaluate_checkpoint(
        tiny_checkpoint, output=tmp_path / "killed", resume=True, **{**options, "batch_size": 3}
    )
    assert sum(asked[1:]) == 12 - before_the_kill
    for tag, row in resumed["tasks"]["sums"]["languages"].items():
        expected = whole["tasks"]["sums"]["languages"][tag]["layalign"]
        assert row["layalign"]["accuracy"] == expected["accuracy"]
    texts = [
        [json.loads(line)["output"] for line in sorted(path.read_text().splitlines())]
        for path in (file, tmp_path / "whole" / "sums.layalign.jsonl")
    ]
    assert sorted(texts[0]) == sorted(texts[1])


def test_other_settings_are_not_resumed(tiny_checkpoint: Path, sums: str, tmp_path: Path) -> None:
    output = tmp_path / "out"
    options: dict[str, Any] = {"tasks": [sums], "limit": 1, "base": False, "output": output}
    evaluate_checkpoint(tiny_checkpoint, **options)
    with pytest.raises(ConfigError, match="already holds an evaluation; go on with it"):
        evaluate_checkpoint(tiny_checkpoint, **options)
    changed = r"other settings.* tasks\.sums\.max_new_tokens, tasks\.sums\.source\.limit;"
    others = {**options, "limit": 2, "max_new_tokens": 2}
    with pytest.raises(ConfigError, match=changed):
        evaluate_checkpoint(tiny_checkpoint, **others, resume=True)
    with pytest.raises(ConfigError, match="only an evaluation in a folder can be resumed"):
        evaluate_checkpoint(tiny_checkpoint, tasks=[sums], output=tmp_path / "a.json", resume=True)


def test_options_change_tasks(tiny_checkpoint: Path, sums: str, riddles: str) -> None:
    summary = evaluate_checkpoint(
        tiny_checkpoint,
        tasks=[sums],
        scoring="loglikelihood",
        template="bare_only",
        overrides=["groups.far=[th]"],
        limit=1,
    )["tasks"]["sums"]
    assert (summary["scoring"], summary["template"]["version"]) == ("generate", 2)
    assert summary["averages"]["far"]["languages"] == ["th"]
    with pytest.raises(ConfigError, match="unknown split 'no' of the word problems"):
        evaluate_checkpoint(tiny_checkpoint, tasks=[sums, "word_problems"], split="no")
    riddle = load_task(riddles)
    changed = evaluate_checkpoint(tiny_checkpoint, tasks=[riddle], scoring="generate", limit=1)
    assert changed["tasks"]["riddles"]["scoring"] == "generate"


@pytest.mark.parametrize(
    ("tasks", "options", "message"),
    [
        (["mgsn"], {}, "unknown task 'mgsn'.*did you mean 'mgsm'"),
        ([], {}, "no tasks to evaluate"),
        (["word_problems", "word_problems"], {}, "given twice"),
        (["mgsm"], {}, "needs data; name the folder that holds mgsm"),
        (["word_problems"], {"template": "checkpont"}, "did you mean 'checkpoint'"),
        (
            ["word_problems"],
            {"base_prompt_template": "{question}"},
            "those of the tasks",
        ),
        (["word_problems"], {"overrides": ["metrc=exact"]}, "unknown key 'metrc'; did you mean"),
        (["no.yaml"], {}, "task no.yaml: cannot be read"),
        (None, {"base_prompt_template": "A:"}, "prompt template is 'A:'; expected one with"),
    ],
)
def test_wrong_tasks_show_before_anything_is_loaded(
    tasks: list[str] | None, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        evaluate_checkpoint("nowhere", tasks=tasks, **options)


def test_a_template_that_does_not_fit_the_data_shows_at_once(tmp_path: Path) -> None:
    rows = [{"text": "q", "language": "sw", "answer": 1}]
    settings = 'metric: number\ntemplates: {plain: {llm: "{premise}"}}\n'
    with pytest.raises(ConfigError, match="premise"):
        evaluate_checkpoint("nowhere", tasks=[write_task(tmp_path, "odd", rows, settings)])


def test_a_plain_language_model(
    tiny_checkpoint: Path, tiny_language_model: Path, sums: str, riddles: str, tmp_path: Path
) -> None:
    """Its figures are those that it has as the bare model inside a checkpoint."""
    options: dict[str, Any] = {"tasks": [sums, riddles], "limit": 2}
    seen: list[tuple[int, int, str]] = []
    alone = evaluate_checkpoint(
        tiny_language_model,
        output=tmp_path / "out",
        progress=lambda *a: seen.append(a),
        **options,
    )
    inside = evaluate_checkpoint(tiny_checkpoint, **options)
    for name, task in alone["tasks"].items():
        assert [*task["systems"]] == ["bare LLM"]
        for tag, row in task["languages"].items():
            other = inside["tasks"][name]["languages"][tag]
            assert (row["layalign"], row["gain"]) == (None, None)
            for figure in ("items", "accuracy", "low", "high", "unparsed", "new_tokens"):
                assert row["bare"][figure] == other["bare"][figure]
        assert task["averages"]["all"]["bare"] == inside["tasks"][name]["averages"]["all"]["bare"]
    assert (seen[0], seen[-1]) == ((0, 10, "sums, bare LLM"), (10, 10, "riddles, bare LLM"))
    rows = list(csv.DictReader((tmp_path / "out" / "results.csv").read_text().splitlines()))
    assert {row["system"] for row in rows} == {"bare"}
    assert "| English | 2 |" in (tmp_path / "out" / "results.md").read_text()
    print_tasks(Console(file=io.StringIO(), width=100), alone["tasks"])
    again = evaluate_checkpoint(
        tiny_language_model, output=tmp_path / "out", resume=True, **options
    )
    assert again["tasks"] == alone["tasks"]


def test_a_plain_language_model_without_tasks(tiny_language_model: Path) -> None:
    options: dict[str, Any] = {"languages": ["en", "sw"], "limit": 1, "max_new_tokens": 2}
    summary = evaluate_checkpoint(tiny_language_model, trained=["sw"], **options)
    assert summary["languages"]["sw"]["trained"] is True
    assert summary["averages"]["trained"]["languages"] == ["sw"]
    assert [*summary["seconds"]] == ["bare LLM"]
    prompted = evaluate_checkpoint(
        tiny_language_model, base_prompt_template="{question} the answer is", **options
    )
    assert prompted["languages"].keys() == summary["languages"].keys()


def test_batches_hold_several_languages(
    tiny_checkpoint: Path, sums: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    answer = systems.LayAlignSystem.answer_batch

    def count(self: Any, features: list[Any]) -> list[Answer]:
        sizes.append(len(features))
        return answer(self, features)

    monkeypatch.setattr(systems.LayAlignSystem, "answer_batch", count)
    evaluate_checkpoint(tiny_checkpoint, tasks=[sums], batch_size=5, base=False)
    assert sizes == [5, 5, 2]  # three languages of four
