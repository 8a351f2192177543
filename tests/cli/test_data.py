import json
from pathlib import Path

import pytest

from layalign.cli.main import main


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "a.tsv"
    path.write_text("Habari\tHello\nhabari\thello\nAsante\n", encoding="utf-8")
    return str(path)


def test_check(file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["data", "check", file, "--language", "sw"]
    output = tmp_path / "out.json"
    assert main([*argv, "--json", "--output", str(output)]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads(output.read_text("utf-8"))
    [found] = printed["sources"]
    assert found["languages"]["sw"]["dropped"] == {"near_duplicate": 1}
    assert found["bad_rows"]["count"] == 1
    assert not found["applied"]
    assert main([*argv, "--set", "duplicates=exact"]) == 0
    out = capsys.readouterr().out
    assert "near_duplicate" not in out
    assert "bad rows: 1" in out
    assert main([*argv, "--strict"]) == 1
    assert "line 3" in capsys.readouterr().err


def test_stats(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    shipped = ["word_problems", "--split", "test", "--target", "english"]
    assert main(["data", "stats", *shipped, "--languages", "sw", "--limit", "2", "--json"]) == 0
    [found] = json.loads(capsys.readouterr().out)["sources"]
    assert found["languages"]["sw"]["kept"] == 2
    assert found["clean"] is None


def test_a_hub_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder that ``datasets`` loads, in the place of an id."""
    datasets = pytest.importorskip("datasets", reason="needs the data extra")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "mgsm"
    folder.mkdir()
    rows = [json.dumps({"question": f"Ngapi, {i}?", "answer": i}) for i in range(3)]
    (folder / "test.jsonl").write_text("\n".join(rows), encoding="utf-8")
    argv = ["data", "stats", f"hub:{folder}", "--format", "mgsm", "--language", "sw"]
    assert main([*argv, "--split", "test", "--json"]) == 0
    printed = capsys.readouterr()
    [found] = json.loads(printed.out)["sources"]
    assert (found["source"], found["languages"]["sw"]["kept"]) == (str(folder), 3)
    assert printed.err == ""  # no bar off a terminal
    assert main(argv) == 2
    assert "needs a split" in capsys.readouterr().err
    assert main([*argv, "--split", "test", "--subset", "none"]) == 1
    assert "subset ('none')" in capsys.readouterr().err
