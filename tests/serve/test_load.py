"""The load test of the benchmarks, with a tiny model: nothing is lost, and no answer is another."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_nothing_is_lost(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openai")
    import serve_load

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    options = ["--questions=8", "--length=6", "--others=12", f"--port={port}"]
    argv = ["serve_load", str(tiny_checkpoint), *options, "--clients", "1", "4"]
    monkeypatch.setattr(sys, "argv", [*argv, f"--output={tmp_path / 'load.json'}"])
    serve_load.main()
    found = json.loads((tmp_path / "load.json").read_text("utf-8"))
    assert len(set(found["one_by_one"]["answers"])) > 1
    assert [level["clients"] for level in found["together"]] == [1, 4]
    assert [level["other_answers"] for level in found["together"]] == [0, 0]
    assert (found["hostile"]["lost"], found["hostile"]["other_answers"]) == (0, 0)
    assert sum(found["hostile"]["others"].values()) == 12
