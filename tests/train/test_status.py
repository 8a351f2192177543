"""How a run is, read from its folder."""

from __future__ import annotations

import json
import math
import socket
import subprocess
import sys

import pytest

from layalign.errors import ConfigError, StopError
from layalign.train.checkpoints import write_checkpoint
from layalign.train.progress import TrainingProgress
from layalign.train.record import Record
from layalign.train.status import StatusFile, read_status


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "recipe.yaml").write_text("{}")
    return tmp_path


def progress(**changes):
    figures = {"update": 3, "updates": 10, "tokens": 500, "fraction": 0.3, "loss": 2.5}
    rest = {"dev_loss": None, "seconds": 6.0, "seconds_left": 14.0}
    return TrainingProgress(**{**figures, **rest, **changes})


def test_while_it_runs(folder):
    told = []
    status = StatusFile(folder, lambda *args: told.append(args))
    with status.kept():
        status.begin("task")
        status.written = -math.inf
        status.trained("task", progress(loss=math.nan))
        assert told == [("task", 0.3, "update 3/10, loss nan")]
        found = read_status(folder)
        assert (found.state, found.phase, found.fraction) == ("running", "task", 0.3)
        assert (found.update, found.updates, found.tokens, found.loss) == (3, 10, 500, None)
        assert (found.seconds, found.seconds_left) == (6.0, 14.0)
        assert 0 <= found.heard < 60
    assert read_status(folder).state == "finished"
    json.dumps(found.to_dict(), allow_nan=False)


def test_it_is_not_written_at_every_update(folder):
    status = StatusFile(folder, None)
    status.trained("task", progress())
    assert not (folder / "status.json").exists()  # not before the folder is the run's
    with status.kept():
        status.trained("task", progress(update=4))
        assert read_status(folder).update is None or read_status(folder).update != 4


@pytest.mark.parametrize(
    ("error", "state", "words"),
    [
        (StopError("stopped by SIGTERM", 15), "stopped", "stopped by SIGTERM"),
        (KeyboardInterrupt(), "stopped", "interrupted"),
        (ValueError("no room"), "failed", "ValueError: no room"),
    ],
)
def test_how_it_ended(folder, error, state, words):
    with pytest.raises(type(error)), StatusFile(folder, None).kept():
        raise error
    found = read_status(folder)
    assert (found.state, found.error) == (state, words)
    with StatusFile(folder, None).kept():
        assert read_status(folder).error is None


def test_killed_or_unknown(folder):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    status = StatusFile(folder, None)
    status.values["pid"] = process.pid
    with status.kept():
        assert read_status(folder).state == "killed"
        (folder / "status.json").write_text("{")
        found = read_status(folder)
        assert (found.state, found.heard) == ("unknown", None)
        status.values["host"] = "elsewhere"
        status.begin("task")
        assert read_status(folder).state == "running"


@pytest.mark.parametrize(
    "content",
    [
        *('{"fraction": "x"}', '{"damaged": []}', '{"run": 1}', '{"seconds_left": 1e400}'),
        *('{"heard": 1, "checkpoint": "x"}', '{"state": "\\u001b[31m"}', '{"phase": ["task"]}'),
        *('{"state": "running", "pid": "x"}', "[1]", "[" * 99999, '{"update": 1.5, "other": 1}'),
    ],
    ids=lambda content: content[:30],
)
def test_what_a_damaged_file_says_is_left_out(folder, content):
    (folder / "status.json").write_text(content)
    found = read_status(folder).to_dict()
    del found["heard"]
    state = "running" if "running" in content else "unknown"
    assert {name: value for name, value in found.items() if value not in (None, [])} == {
        "run": str(folder),
        "state": state,
    }


def test_a_process_that_cannot_be(folder):
    values = {"state": "running", "host": socket.gethostname(), "pid": 2**62, "update": 3}
    (folder / "status.json").write_text(json.dumps(values))
    found = read_status(folder)
    assert (found.state, found.update) == ("killed", 3)


def test_the_newest_whole_checkpoint(folder):
    for stage, update in (("translation", 4), ("task", 2), ("task", 3)):
        write_checkpoint(folder / stage, update, Record().save)
    assert read_status(folder).checkpoint == str(folder / "task" / "checkpoint-3")
    (folder / "task" / "checkpoint-3" / "record.json").write_text("{}")
    found = read_status(folder)
    assert found.checkpoint == str(folder / "task" / "checkpoint-2")
    assert "checkpoint-3: record.json has 2 bytes" in found.damaged[0]


def test_no_run(tmp_path):
    with pytest.raises(ConfigError, match=r"has no recipe\.yaml; expected the output_dir"):
        read_status(tmp_path)


def test_it_does_not_wait_for_torch():
    program = "import sys, layalign.train.status; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
