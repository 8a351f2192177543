"""With one process everything is as if there were no others."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
from torch import distributed

from layalign import processes
from layalign.cli.main import main
from layalign.errors import DataError, LayAlignError


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


def test_a_process_that_has_ended_is_known_by_the_error_of_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lost = RuntimeError(
        "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:538] Connection reset"
    )
    assert processes.is_desertion(lost)
    assert processes.is_desertion(distributed.DistNetworkError("timed out"))
    assert not processes.is_desertion(RuntimeError("CUDA out of memory"))

    def fail(*_: object, **__: object) -> None:
        raise lost

    monkeypatch.setattr(processes, "count", lambda: 2)
    monkeypatch.setattr(processes, "_talk", lambda: None)
    monkeypatch.setattr(distributed, "all_gather_object", fail)
    monkeypatch.setattr(distributed, "broadcast_object_list", fail)
    for ask in (processes.gather, processes.by_main):
        with pytest.raises(
            LayAlignError, match="another process has ended; what was saved is kept"
        ):
            ask(str)


def test_a_command_says_so_when_training_itself_notices(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: object) -> int:
        raise RuntimeError("[pair.cc:538] gloo: Connection closed by peer")

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(processes, "joined", nullcontext)
    monkeypatch.setattr("layalign.cli.train.run", fail)
    assert main(["train", "recipe.yaml"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"layalign (process 1): error: {processes.DESERTED}"


RENDEZVOUS = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"WORLD_SIZE": "abc"}, "WORLD_SIZE is 'abc'; expected how many"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE is '0'"),
        ({"RANK": "x"}, "RANK is 'x'; expected a number from 0 to 1"),
        ({"RANK": "2"}, "RANK is '2'; expected a number from 0 to 1"),
        ({"MASTER_ADDR": ""}, "MASTER_ADDR is not"),
        ({"MASTER_PORT": ""}, "MASTER_PORT is not"),
    ],
)
def test_a_wrong_environment_is_one_line(
    environment: dict[str, str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", **RENDEZVOUS, **environment}.items():
        monkeypatch.setenv(name, value)
    assert main(["evaluate", "nowhere"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert "by torchrun or accelerate launch" in line


def test_processes_that_do_not_find_each_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**_: object) -> None:
        raise RuntimeError("The client socket has timed out")

    for name, value in {"RANK": "1", "WORLD_SIZE": "2", **RENDEZVOUS}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("accelerate.PartialState", fail)
    assert main(["evaluate", "nowhere"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("layalign (process 1): error: the 2 processes do not find each other at")
    assert "127.0.0.1:29500 (The client socket has timed out)" in line


def test_commands_for_one_process_say_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert main(["report", "runs"]) == 2
    assert "report is for one process; train, evaluate, generate" in capsys.readouterr().err
