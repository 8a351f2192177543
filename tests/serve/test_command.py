"""``layalign serve``: its arguments, what it refuses, and a process that is told to stop."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import layalign.serve.server
from layalign.cli.main import main
from layalign.errors import ConfigError
from layalign.serve.engine import Limits
from layalign.serve.server import serve


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return str(listener.getsockname()[1])


def test_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Any, Any]] = []
    monkeypatch.setattr(
        layalign.serve.server, "serve", lambda *args, **kwargs: calls.append((args, kwargs))
    )
    monkeypatch.setenv("LAYALIGN_API_KEY", "secret")
    assert main(["serve", "folder"]) == 0
    options = ["--api-key", "other", "--max-running", "2", "--dtype", "bfloat16"]
    assert main(["serve", "folder", *options]) == 0
    expected = {
        **{"host": "127.0.0.1", "port": 8000, "name": None, "api_key": "secret"},
        **{"allow_anyone": False, "limits": Limits(), "drain": 30.0, "dtype": None},
    }
    other = {**expected, "api_key": "other", "limits": Limits(max_running=2), "dtype": "bfloat16"}
    assert calls == [(("folder",), expected), (("folder",), other)]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "some.example"])
def test_other_machines_need_a_key(host: str) -> None:
    with pytest.raises(ConfigError, match="there is no key"):
        serve("folder", host=host)


def test_a_port_that_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        assert main(["serve", "folder", "--port", port]) == 1
    assert f"cannot listen on 127.0.0.1, port {port}" in capsys.readouterr().err


def test_a_port_that_cannot_be(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "folder", "--port", "70000"]) == 2
    assert "expected 1 to 65535" in capsys.readouterr().err


def test_a_missing_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", str(tmp_path / "none"), "--port", free_port()]) == 1
    assert "none" in capsys.readouterr().err


def test_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layalign.serve.server.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(layalign.errors.ServeError, match=r"pip install 'layalign\[serve\]'"):
        serve("folder")


@pytest.mark.slow
def test_sigterm_finishes_answers(tiny_checkpoint: Path, request: pytest.FixtureRequest) -> None:
    argv = [sys.executable, "-m", "layalign", "serve", str(tiny_checkpoint), "--port", free_port()]
    process = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, env={**os.environ})
    request.addfinalizer(process.kill)
    assert process.stderr is not None
    lines: list[str] = []
    place = None
    while place is None:
        lines.append(process.stderr.readline())
        assert lines[-1], "".join(lines)
        place = re.search(r"serving checkpoint at http://([\d.:]+)", lines[-1])
    reader = threading.Thread(target=lambda: lines.extend(process.stderr), daemon=True)
    reader.start()
    connection = http.client.HTTPConnection(place[1], timeout=60)
    body = {"messages": [{"role": "user", "content": "ana mayai"}], "stream": True, "n": 8}
    kind = {"Content-Type": "application/json"}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), kind)
    response = connection.getresponse()  # the head; most of the answers are still to come
    process.send_signal(signal.SIGTERM)
    events = response.read().decode().split("\n\n")
    connection.close()
    assert events[-2] == "data: [DONE]"
    assert process.wait(60) in (0, -signal.SIGTERM)
    reader.join()
    process.stderr.close()
    text = "".join(lines)
    assert "Traceback" not in text
    assert "mayai" not in text
