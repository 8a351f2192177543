"""Wrong usage: one line, status 2, and what was probably meant."""

from __future__ import annotations

import argparse

import pytest

from layalign.cli.main import main
from layalign.cli.parser import comma_list, comma_numbers, positive, whole


@pytest.mark.parametrize(
    ("argv", "hints"),
    [
        (["trian"], ["'trian'", "did you mean 'train'?"]),
        (["evaluate", "folder", "--limt", "3"], ["'--limt'", "did you mean '--limit'?"]),
        (["evaluate", "folder", "--metric", "numbr"], ["--metric", "did you mean 'number'?"]),
        (["train", "recipe.yaml", "--drx=1"], ["'--drx'", "layalign train --help"]),
        (["train", "recipe.yaml", "--res"], ["'--res'"]),  # abbreviations are not taken
        (["train", "recipe.yaml", "other"], ["unknown argument 'other'"]),
        (["--versoin"], ["did you mean '--version'?"]),
        (["generate", "folder"], ["TEXT"]),
        (["evaluate", "folder", "--limit", "0"], ["at least 1, got '0'"]),
        (["evaluate", "folder", "--scoring", "loglikelyhood"], ["did you mean 'loglikelihood'?"]),
        (["evaluate", "folder", "--template", "paper"], ["--template needs --tasks"]),
        (["evaluate", "folder", "--include", "dir"], ["--include needs --harness"]),
        (["evaluate", "folder", "--harness"], ["--harness needs --tasks"]),
        (
            ["evaluate", "folder", "--harness", "--tasks", "a", "--languages", "sw"],
            ["--languages does not apply to --harness"],
        ),
        (["quickstart", "--minutes", "-1"], ["above 0, got '-1'"]),
        (["generate", "folder", "text", "--stream", "--json"], ["--stream and --json"]),
        (["convert", "file", "--encoder", "e", "--output", "o"], ["--llm is needed"]),
        (
            ["convert", "folder", "--to", "published", "--llm", "l", "--output", "o"],
            ["--llm does not apply to --to published"],
        ),
        (["convert", "file", "--encoder-layers", "1-3", "--output", "o"], ["like 1,3, got '1-3'"]),
    ],
)
def test_wrong_usage(argv: list[str], hints: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("layalign: error: ")
    assert err.count("\n") == 1
    assert all(hint in err for hint in hints)


def test_values() -> None:
    assert whole("12") == 12
    assert positive("2.5") == 2.5
    assert comma_list("sw, th") == ("sw", "th")
    assert comma_numbers("0,12") == (0, 12)


@pytest.mark.parametrize(
    ("read", "text"),
    [
        *((whole, text) for text in ("1.5", "-1", "²", "")),
        *((positive, text) for text in ("nan", "inf", "0", "x")),
        (comma_list, " , "),
        *((comma_numbers, text) for text in ("", "a", "1,-2", "²")),
    ],
)
def test_wrong_values(read: object, text: str) -> None:
    assert callable(read)
    with pytest.raises(argparse.ArgumentTypeError, match="expected"):
        read(text)
