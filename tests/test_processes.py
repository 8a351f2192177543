"""With one process everything is as if there were no others."""

from __future__ import annotations

import pytest

from layalign import processes
from layalign.cli.main import main
from layalign.errors import DataError


def test_alone() -> None:
    assert (processes.count(), processes.rank(), processes.is_main()) == (1, 0, True)
    assert processes.gather("own") == ["own"]
    assert processes.by_main(lambda: "done") == "done"
    assert list(processes.shares(3)) == [0, 1, 2]
    with processes.joined(), processes.together():
        pass


def test_errors_stay_what_they_are() -> None:
    def fail() -> None:
        raise DataError("no such file")

    with pytest.raises(DataError, match="no such file"):
        processes.by_main(fail)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [({}, 1), ({"WORLD_SIZE": "4"}, 1), ({"WORLD_SIZE": "4", "RANK": "3"}, 4)],
    ids=["none", "a cluster's own variable", "launched"],
)
def test_launchers_are_known_by_their_variables(
    environment: dict[str, str], expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WORLD_SIZE", "RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert processes.launched() == expected


def test_commands_for_one_process_say_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert main(["report", "runs"]) == 2
    assert "report is for one process; train, evaluate, generate" in capsys.readouterr().err
