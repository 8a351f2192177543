"""``layalign chat`` with its input from a pipe or a terminal, and files through ``generate``."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from layalign.cli.main import main
from layalign.generation import Chat, generate

Captured = pytest.CaptureFixture[str]


def test_from_a_pipe(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    lines = "vitabu nne\n\n/base\nvitabu nne\n/bse\n/clear\n/help\n/quit\nnever asked\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    assert main(["chat", str(tiny_checkpoint), "--max-new-tokens", "4"]) == 0
    out, err = capsys.readouterr()
    (alone,) = generate(tiny_checkpoint, ["vitabu nne"], max_new_tokens=4, base=True)
    assert [line.strip() for line in out.splitlines()] == [alone["answer"], alone["bare"]]
    assert "the bare language model answers" in err
    assert "unknown command '/bse'; did you mean '/base'?" in err
    assert "forgotten" in err
    assert "leave, as the end of the input does" in err


def test_a_line_that_fails_is_not_the_end(
    tiny_language_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("nne \ud800\nnne\n/base\n"))
    argv = ["chat", str(tiny_language_model), "--max-new-tokens", "2", "--quiet"]
    assert main(argv) == 1
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1
    assert "layalign: error: text holds the unusable character U+D800" in err
    assert "there is nothing beside it" in err


def test_at_a_terminal_an_answer_can_be_interrupted(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    lines = iter(["nne", "/base"])

    def ask(prompt: str) -> str:
        try:
            return next(lines)
        except StopIteration:
            raise EOFError from None

    def interrupted(self: Chat, text: str, **kwargs: object) -> Iterator[str]:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr("builtins.input", ask)
    monkeypatch.setattr(Chat, "ask", interrupted)
    assert main(["chat", str(tiny_checkpoint)]) == 0
    err = capsys.readouterr().err
    assert "interrupted; /quit leaves" in err
    assert "the bare language model answers" in err


def test_generate_answers_a_file(tiny_checkpoint: Path, tmp_path: Path, capsys: Captured) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text('{"q": "nne"}\n{"q": "tatu"}\n', "utf-8")
    argv = ["generate", str(tiny_checkpoint), "--input", str(source), "--text-column", "q"]
    argv += ["--max-new-tokens", "2", "--output", str(target)]
    assert main(argv) == 0
    assert capsys.readouterr().out == f"{target}: 2 answered\n"
    rows = [json.loads(line) for line in target.read_text("utf-8").splitlines()]
    assert [row["q"] for row in rows] == ["nne", "tatu"]
    assert all("output" in row for row in rows)
    assert main(argv) == 2
    assert "is there already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--input", "in.jsonl"], "--input needs --output"),
        (["--input", "in.jsonl", "--output", "out", "text"], "a TEXT does not go with --input"),
        (["--input", "in.jsonl", "--output", "out", "--json"], "--json does not go with --input"),
        (["text", "--text-column", "q"], "--text-column needs --input"),
        ([], "there is no TEXT to answer"),
    ],
)
def test_wrong_use(words: list[str], message: str, capsys: Captured) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["generate", "folder", *words])
    assert message in capsys.readouterr().err
