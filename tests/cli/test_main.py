"""The program around the commands: help, statuses, errors on one line."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from layalign import __version__
from layalign.cli import inspect
from layalign.cli.main import COMMANDS, main
from layalign.errors import CheckpointError, ConfigError, StopError

NAMES = [command.__name__.rpartition(".")[2] for command in COMMANDS]


def layalign(*argv: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "layalign", *argv]
    return subprocess.run(command, capture_output=True, text=True)


def raising(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(args: object) -> int:
        raise error

    monkeypatch.setattr(inspect, "run", run)


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, layalign.cli.main as m\n"
        "try: m.main(['--help'])\n"
        "except SystemExit: print('HEAVY', *{'torch', 'transformers', 'rich'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("HEAVY")


def test_help_is_instant() -> None:
    def seconds(*command: str) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, *command], capture_output=True, check=True)
        return time.perf_counter() - start

    # Beside an idle interpreter, and the best of five: the machine may be busy.
    own = min(seconds("-m", "layalign", "--help") for _ in range(5))
    idle = min(seconds("-c", "pass") for _ in range(5))
    assert own - idle < 0.25


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([name, "--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert out.startswith(f"usage: layalign {name} ")
    assert all(option in out for option in ("--debug", "--quiet"))


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"layalign {__version__}\n"


def test_no_command_shows_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "commands:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (CheckpointError("no\n  weights"), 1, "no weights"),
        (ConfigError("wrong key"), 2, "wrong key"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (StopError("stopped by SIGTERM: saved", 15), 143, "stopped by SIGTERM: saved"),
        (
            ZeroDivisionError("oops"),
            1,
            "unexpected ZeroDivisionError: oops; run again with --debug",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_errors_are_one_line(
    error: BaseException,
    status: int,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    raising(error, monkeypatch)
    assert main(["inspect", "folder"]) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"layalign: error: {line}")
    assert err.count("\n") == 1


@pytest.mark.parametrize("argv", [["--debug", "inspect", "x"], ["inspect", "x", "--debug"]])
def test_debug_shows_the_traceback(argv: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    raising(CheckpointError("damaged"), monkeypatch)
    with pytest.raises(CheckpointError, match="damaged"):
        main(argv)


def test_a_reader_who_leaves_is_no_error(tiny_checkpoint: Path) -> None:
    program = "import time; time.sleep(0.2)"  # closes its end without reading
    command = f"{sys.executable} -m layalign inspect {tiny_checkpoint} --json"
    done = subprocess.run(
        ["bash", "-c", f'{command} | {sys.executable} -c "{program}" ; echo "${{PIPESTATUS[0]}}"'],
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() in ("0", "141")  # 0: all of it fitted into the pipe's buffer
    assert done.stderr == ""


def test_module_is_the_command() -> None:
    done = layalign("train", "missing.yaml")
    assert done.returncode == 2
    assert done.stderr.startswith("layalign: error: missing.yaml: ")
    assert done.stderr.count("\n") == 1
