"""Runs of the command line to practise on, in processes forked from one that has imported it all.

A start takes no seconds for importing torch, so that a hundred runs are a matter of minutes.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from factories import save_backbones
from layalign.cli.main import main
from layalign.durable import sha256

Fault = Callable[[], None]
"""Something done in the process of a run before the run begins."""

RECIPE = Path(__file__).parents[2] / "recipes" / "tiny.yaml"
_MODELS = ("encoder", "language_model")
_EXAMPLES = "[{name: word_problems, split: train, languages: [en], target: english, limit: 32}]"
# The tiny recipe on models of a few thousand parameters, with a fine-tune before its two stages and
# a checkpoint after every second update.
_OVERRIDES = (
    "model.lexical={texts: 50, updates: 10}",
    "processor.encoder_max_length=60",
    "processor.prompt_max_length=60",
    "processor.target_max_length=20",
    f"data.finetune.train={_EXAMPLES}",
    "stage.finetune={lr: 1.0e-3, batch_size: 8, epochs: 1, eval_every: 1, embedding_noise: 5.0}",
    "stage.translation.eval_every=2",
    "stage.task.eval_every=2",
    "evaluation={max_new_tokens: 4, batch_size: 2}",
)

_ERROR = "layalign: error: "


class LostError(Exception):
    """A run did not go as it must."""


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    code: int
    """Its exit status; negative for a signal."""

    said: str
    """The last line of what it wrote."""

    def refused(self, *words: str) -> Ended:
        """See that it ended with one line that says why.

        Raises:
            LostError: It did not.
        """
        clear = self.said.startswith(_ERROR) and "unexpected" not in self.said
        if self.code not in (1, 2) or not clear or not any(word in self.said for word in words):
            raise LostError(f"exit {self.code}: {self.said}")
        return self


class Child:
    """A forked process."""

    def __init__(self, act: Callable[[], int], log: Path) -> None:
        """Start it.

        Args:
            act: Done there; gives the exit status.
            log: For what it writes.
        """
        self.log = log
        self.code: int | None = None
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            _be(act, log)

    def wait(self, seconds: float = 120.0) -> bool:
        """Wait for its end, but no longer than that; say whether it has come."""
        deadline = time.monotonic() + seconds
        while self.code is None and time.monotonic() < deadline:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
            else:
                time.sleep(0.005)
        return self.code is not None

    def send(self, number: int) -> None:
        """Send a signal, unless it is over."""
        if self.code is None:
            os.kill(self.pid, number)

    def ended(self) -> Ended:
        """How it ended.

        Raises:
            LostError: It has not; it is killed now.
        """
        if not self.wait():
            self.send(signal.SIGKILL)
            self.wait()
            raise LostError("it did not end")
        lines = self.log.read_text(errors="replace").strip().splitlines()
        # A thread of TensorBoard may speak of the same disk at the same moment.
        errors = [_ERROR + line.partition(_ERROR)[2] for line in lines if _ERROR in line]
        return Ended(self.code or 0, [*lines, *errors][-1] if lines else "")


class Ground:
    """Where runs are made.

    Attributes:
        undisturbed: What a run gives that nothing happens to.
        seconds: How long it takes.
        places: How often it says that something is to be on the disk, or renames it.
    """

    def __init__(self, root: Path) -> None:
        """Make the models and the undisturbed run."""
        self.root = root
        Child(partial(_make_models, root / "models"), root / "models.log").ended()
        start, out = time.monotonic(), root / "undisturbed"
        counted = root / "places"
        if (ended := self.run(out, partial(_count_places, counted))).code:
            raise LostError(ended.said)
        self.seconds = time.monotonic() - start
        self.places = int(counted.read_text())
        self.undisturbed = result_of(out)

    def command(self, log: str, words: Sequence[str], *faults: Fault) -> Child:
        """Begin any command.

        Args:
            log: Name of the file that it writes to.
            words: After the program's name.
            faults: Done before it, in its process.
        """

        def act() -> int:
            for fault in faults:
                fault()
            return main(words)

        return Child(act, self.root / f"{log}.log")

    def overrides(self) -> list[str]:
        """What makes the tiny recipe of the drill, as words of a command."""
        models = (f"model.{name}={self.root / 'models' / name}" for name in _MODELS)
        return [word for override in (*_OVERRIDES, *models) for word in ("--set", override)]

    def start(self, out: Path, *faults: Fault) -> Child:
        """Begin a run, or go on with it."""
        words = ["train", str(RECIPE), "--resume", "--quiet", *self.overrides()]
        # Several runs are called the same, on disks of their own.
        return self.command(
            f"{out.parent.name}-{out.name}", [*words, "--set", f"output_dir={out}"], *faults
        )

    def run(self, out: Path, *faults: Fault) -> Ended:
        """Begin a run, or go on with it, and wait for its end."""
        return self.start(out, *faults).ended()

    def recovers(self, out: Path, *faults: Fault) -> None:
        """Go on with a run to its end, and see that nothing came of what happened before.

        Raises:
            LostError: It ends otherwise, or with something else.
        """
        ended = self.run(out, *faults)
        if ended.code:
            raise LostError(f"exit {ended.code}: {ended.said}")
        found = result_of(out)
        wrong = [name for name in self.undisturbed if found[name] != self.undisturbed[name]]
        if wrong:
            raise LostError(f"another result: {', '.join(wrong)}")


def result_of(out: Path) -> dict[str, Any]:
    """Weights, losses and answers of a finished run."""
    summary = json.loads((out / "summary.json").read_text())
    stages = {n: s["losses"] for n, s in summary["stages"].items() if "losses" in s}
    tuned = out / "language_model" / "model.safetensors"
    files = sorted((out / "predictions").glob("*.jsonl"))
    rows = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    return {
        "weights": sha256(out / "model.safetensors"),
        # Runs of a comparison share one that is elsewhere.
        "language model": sha256(tuned) if tuned.exists() else None,
        "losses": stages,
        "answers": sorted((row["index"], row["output"]) for row in rows),
    }


def at_every_place(act: Callable[[int], None]) -> None:
    """Have something done, in this process, whenever it flushes or renames a file or folder.

    Args:
        act: Takes the number of the place, from 1.
    """
    number = 0

    def before(name: str) -> None:
        original = getattr(os, name)

        def replaced(*args: Any, **kwargs: Any) -> Any:
            nonlocal number
            number += 1
            act(number)
            return original(*args, **kwargs)

        setattr(os, name, replaced)

    for name in ("fsync", "replace", "rename"):
        before(name)


def _be(act: Callable[[], int], log: Path) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    code = 70
    try:
        code = act()
    except SystemExit as error:
        code = int(error.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _make_models(folder: Path) -> int:
    save_backbones(folder)
    return 0


def _count_places(file: Path) -> None:
    def count(number: int) -> None:
        file.write_text(str(number))

    at_every_place(count)
