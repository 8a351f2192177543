"""The shell lines that the documentation shows: commands parse, files are there, cheap ones run."""

from __future__ import annotations

import json
import re
import shutil
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from documentation import PAGES, ROOT, calls, shell_lines
from layalign.cli.main import main, make_parser
from layalign.serve import app
from layalign.serve.schema import ChatRequest, CompletionRequest, read_request
from report_folders import evaluation, write_results, write_run

LINES = list(dict.fromkeys(line.strip() for page in PAGES for line in shell_lines(page)))


def check_layalign(words: Sequence[str]) -> None:
    args, unknown = make_parser().parse_known_args(words)
    assert not unknown
    assert args.command is not None


def check_torchrun(words: Sequence[str]) -> None:
    from torch.distributed.run import get_args_parser

    _check_launched(get_args_parser().parse_args(words))


def check_accelerate(words: Sequence[str]) -> None:
    from accelerate.commands.launch import launch_command_parser

    assert words[0] == "launch"
    _check_launched(launch_command_parser().parse_args(words[1:]))


def _check_launched(args: Namespace) -> None:
    assert args.module
    assert args.training_script == "layalign"
    check_layalign(args.training_script_args)


def check_sbatch(words: Sequence[str]) -> None:
    assert (ROOT / words[0]).is_file()
    check_layalign(["train", *words[1:]])


def check_curl(words: Sequence[str]) -> None:
    path = words[0].removeprefix("http://127.0.0.1:8000")
    kinds = {"/v1/chat/completions": ChatRequest, "/v1/completions": CompletionRequest}
    assert f'"{path}"' in Path(app.__file__).read_text("utf-8")
    assert "Content-Type: application/json" in words
    read_request(kinds[path], json.loads(words[words.index("-d") + 1]))


def check_python(words: Sequence[str]) -> None:
    source = (ROOT / words[0]).read_text("utf-8")
    for word in words[1:]:
        assert not word.startswith("-") or f'"{word}"' in source


def check_make(words: Sequence[str]) -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert [word for word in words if "=" not in word and word not in targets] == []


def check_pytest(words: Sequence[str]) -> None:
    marks = set(re.findall(r'^    "(\w+): ', _project(), re.MULTILINE))
    assert {*re.findall(r"\w+", words[words.index("-m") + 1])} <= marks | {"and", "or", "not"}


def check_pip(words: Sequence[str]) -> None:
    extras = re.findall(r"^(\w+) = \[", _project(), re.MULTILINE)
    for names in re.findall(r"\[(.*)\]", " ".join(words)):
        assert set(names.split(",")) <= set(extras)


def check_export(words: Sequence[str]) -> None:
    name = words[0].split("=")[0]
    assert any(name in file.read_text("utf-8") for file in (ROOT / "src").glob("layalign/**/*.py"))


def check_nothing(_: Sequence[str]) -> None:
    """For what is not ours."""


def _project() -> str:
    return (ROOT / "pyproject.toml").read_text("utf-8")


CHECKS: dict[str, Callable[[Sequence[str]], None]] = {
    "layalign": check_layalign,
    "torchrun": check_torchrun,
    "accelerate": check_accelerate,
    "sbatch": check_sbatch,
    "curl": check_curl,
    "python": check_python,
    "make": check_make,
    "pytest": check_pytest,
    "pip": check_pip,
    "export": check_export,
    **dict.fromkeys(("cat", ".venv/bin/pre-commit", "for", "do", "done"), check_nothing),
}
OURS = re.compile(r"(recipes|tests|benchmarks|tools|deploy|src)/\S+")
"""Files of the repository; others are the reader's."""


@pytest.mark.parametrize("line", LINES, ids=lambda line: line[:70])
def test_every_line_is_a_command_that_there_is(line: str) -> None:
    for program, *words in calls(line):
        CHECKS[program](words)
        for piece in " ".join(words).replace("=", " ").split():
            assert not OURS.fullmatch(piece) or (ROOT / piece).exists(), piece


# Lines that are run, on models and files as small as possible in the place of those they name.
# Left out are commands that take minutes, do not end, or give away what has a name on the Hub, and
# lines that name what is not here.

QUICK = {"chat", "data", "inspect", "models", "plan", "report", "status"}
SLOW = {"analyze", "convert", "evaluate", "generate"}
ELSEWHERE = re.compile(
    r"fetch|hub:|--harness|--tasks|--recipe own|--compare|\.bin --enc|models/own"
)
_FEW = ["--max-new-tokens", "2"]
SHORTER = {
    "analyze": ["--languages", "sw,th", "--limit", "2"],
    "evaluate": ["--limit", "1", *_FEW],
    **dict.fromkeys(("generate", "chat"), _FEW),
}
"""Further options; a later one counts instead of an earlier one."""


def can_be_run(line: str) -> bool:
    *_, last = calls(line)
    return last[0] == "layalign" and last[1] in QUICK | SLOW and not ELSEWHERE.search(line)


RUN = [
    pytest.param(line, marks=[pytest.mark.slow] if calls(line)[-1][1] in SLOW else [])
    for line in LINES
    if can_be_run(line)
]
ROW = {"question": "three and two", "lang": "sw", "text": "three and two", "language": "sw"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> Path:
    """What the lines name: runs, results and data."""
    folder = tmp_path_factory.mktemp("place")
    for name in ("quickstart", "own", "tamil", "published"):
        run = folder / "runs" / name
        shutil.copytree(tiny_checkpoint, run)
        write_run(run, system="layalign", evaluation=evaluation(10, 40))
    for name in ("own", "rival"):
        (folder / "results").mkdir(exist_ok=True)
        write_results(folder / "results" / name, ours=40)
    (folder / "data" / "tatoeba").mkdir(parents=True)
    for tag in ("sw", "th"):
        (folder / "data" / "tatoeba" / f"{tag}.tsv").write_text("tatu\tthree\n", "utf-8")
    (folder / "data" / "ta.tsv").write_text("tatu\tthree\n", "utf-8")
    row = json.dumps({**ROW, "answer": "5", "target": "5"}) + "\n"
    for name in ("questions", "data/held_out", "data/ta_train", "data/ta_test"):
        (folder / f"{name}.jsonl").write_text(row, "utf-8")
    (folder / "questions.txt").write_text("three and two\n", "utf-8")
    (folder / "questions.csv").write_text("question,lang\nthree,sw\n", "utf-8")
    return folder


@pytest.mark.parametrize("line", RUN, ids=lambda line: line[:70])
def test_cheap_lines_run(
    line: str,
    place: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(shutil.copytree(place, tmp_path / "place"))
    monkeypatch.setenv("LAYALIGN_HOME", str(tmp_path / "home"))
    _, *words = calls(line)[-1]
    words = ["runs/quickstart" if word == "smollm2-e5" else word for word in words]
    with Path("questions.txt").open(encoding="utf-8") as questions:
        monkeypatch.setattr("sys.stdin", questions)
        status = main([*words, *SHORTER.get(words[0], [])])
    assert status == 0, capsys.readouterr().err
