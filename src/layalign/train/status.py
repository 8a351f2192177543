"""How a run is, as it stands in its folder: written while it runs, read by ``layalign status``."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_type_hints

from layalign import processes
from layalign.durable import damage, replace_file
from layalign.errors import ConfigError, StopError
from layalign.eval.run_folder import RECIPE_NAME, SUMMARY_NAME
from layalign.fields import convert
from layalign.train.checkpoints import checkpoints

if TYPE_CHECKING:
    from layalign.train.progress import RunProgress, TrainingProgress

STATUS_NAME = "status.json"
_SECONDS_BETWEEN = 2.0
_FIGURES = (
    *("update", "updates", "tokens", "loss", "dev_loss"),
    *("seconds", "seconds_left"),
)
State = Literal["running", "finished", "stopped", "failed", "killed", "unknown"]


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """How a run is. Figures are None where they are not known."""

    run: str
    """Its folder."""

    state: State
    """``running``, ``finished``, ``stopped`` (by a signal), ``failed``, ``killed`` (it could not
    say so itself) or ``unknown``."""

    phase: str | None = None
    """What it is or was doing, such as a stage."""

    fraction: float | None = None
    """How much of the phase is done, from 0 to 1."""

    update: int | None = None
    """Updates done in the phase."""

    updates: int | None = None
    """Updates planned in it."""

    tokens: int | None = None
    """Read in the phase, without padding."""

    loss: float | None = None
    """Token mean of the last update's loss, nats."""

    dev_loss: float | None = None
    """Token mean of the last development loss, nats."""

    seconds: float | None = None
    """The phase has taken, over all sessions."""

    seconds_left: float | None = None
    """It will still take, by an estimate."""

    heard: float | None = None
    """Seconds since the run last wrote this down."""

    checkpoint: str | None = None
    """The newest one of any stage that was found whole just now."""

    damaged: tuple[str, ...] = ()
    """Checkpoints newer than that one, and what is wrong with them."""

    error: str | None = None
    """Why it ended, if it ended early."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**dataclasses.asdict(self), "damaged": list(self.damaged)}


class StatusFile:
    """Writes down how a run is, every few seconds, and passes it on.

    A disk that cannot be written is no reason to end the run: it shows soon enough elsewhere.

    Args:
        folder: Of the run.
        progress: Who else wants to know.
    """

    def __init__(self, folder: Path, progress: RunProgress | None) -> None:
        """Write nothing yet."""
        self.path = folder / STATUS_NAME
        self.inner = progress
        self.values: dict[str, Any] = {"pid": os.getpid(), "host": socket.gethostname()}
        self.is_open, self.written = False, -math.inf

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Write from here on, and at the end how it ended."""
        self.is_open = processes.is_main()
        self._write(state="running")
        try:
            yield
        except KeyboardInterrupt as stop:
            words = str(stop) if isinstance(stop, StopError) else "interrupted"
            self._write(state="stopped", error=words)
            raise
        except Exception as error:
            self._write(state="failed", error=f"{type(error).__name__}: {error}")
            raise
        self._write(state="finished")

    def begin(self, phase: str) -> None:
        """A phase begins."""
        self._write(phase=phase, fraction=0.0, **dict.fromkeys(_FIGURES))

    def told(self, phase: str, fraction: float, text: str) -> None:
        """A phase has come so far; takes what ``run_recipe`` tells."""
        self._write_now_and_then(phase=phase, fraction=fraction)
        if self.inner is not None:
            self.inner(phase, fraction, text)

    def trained(self, phase: str, progress: TrainingProgress) -> None:
        """A stage has made an update."""
        figures = {name: getattr(progress, name) for name in _FIGURES}
        if not math.isfinite(progress.loss):
            figures["loss"] = None  # JSON has no NaN
        self.values.update(figures)
        self.told(phase, progress.fraction, str(progress))

    def _write_now_and_then(self, **values: Any) -> None:
        self.values.update(values)
        if time.monotonic() - self.written >= _SECONDS_BETWEEN:
            self._write()

    def _write(self, **values: Any) -> None:
        self.values.update(values)
        if self.is_open:
            self.written = time.monotonic()
            with suppress(OSError):
                replace_file(self.path, json.dumps(self.values, indent=2).encode() + b"\n")


def read_status(folder: str | os.PathLike[str]) -> RunStatus:
    """How a run is, from its folder alone.

    Raises:
        ConfigError: No run has been begun there.
    """
    place = Path(folder)
    if not (place / RECIPE_NAME).is_file():
        raise ConfigError(f"{place} has no {RECIPE_NAME}; expected the output_dir of a run")
    path = place / STATUS_NAME
    values = _read(path)
    checkpoint, damaged = _newest_whole(place)
    written = {
        name: values[name] for name in ("phase", "fraction", *_FIGURES, "error") if name in values
    }
    return RunStatus(
        **written,
        run=str(place),
        state="finished" if (place / SUMMARY_NAME).is_file() else _state(values),
        heard=time.time() - path.stat().st_mtime if values else None,
        checkpoint=checkpoint,
        damaged=damaged,
    )


def _read(path: Path) -> dict[str, Any]:
    """What a run has written down, without whatever is not of the right type."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    hints = {**get_type_hints(RunStatus), "pid": int, "host": str}
    found = {}
    for name, value in values.items() if isinstance(values, dict) else ():
        with suppress(ConfigError, KeyError):
            found[name] = convert(value, hints[name], name)
    return found


def _state(values: dict[str, Any]) -> State:
    state: State = values.get("state", "unknown")
    here = os.name == "posix" and values.get("host") == socket.gethostname()
    if state != "running" or not here:  # elsewhere there is no asking without consequences
        return state
    try:
        os.kill(values["pid"], 0)
    except PermissionError:
        return state  # somebody else's, but there
    except (OSError, OverflowError, KeyError):
        return "killed"
    return state


def _newest_whole(folder: Path) -> tuple[str | None, tuple[str, ...]]:
    found = (path for stage in folder.iterdir() for path in checkpoints(stage))
    wrong: list[str] = []
    for path in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True):
        what = damage(path)
        if what is None:
            return str(path), tuple(wrong)
        wrong.append(f"{path}: {what}")
    return None, tuple(wrong)
