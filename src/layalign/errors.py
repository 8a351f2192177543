"""Errors that a user can cause, each with one clear message.

A message says what was found, what was expected and what to do next. The command line prints it
without a traceback and leaves with the class's ``exit_code``.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class LayAlignError(Exception):
    """Base of every error that layalign raises on purpose.

    Attributes:
        exit_code: What the command line exits with; 1 is a failure, 2 is wrong usage.
    """

    exit_code = 1


class ConfigError(LayAlignError, ValueError):
    """A setting, recipe or command-line argument is not valid."""

    exit_code = 2


class ShapeError(LayAlignError, ValueError):
    """A tensor does not have the shape that the configuration implies."""


class DataError(LayAlignError, ValueError):
    """A data file cannot be read as what it was declared to be."""


class CheckpointError(LayAlignError, ValueError):
    """A checkpoint is missing, damaged or does not fit its backbones."""


class BackboneError(LayAlignError, ValueError):
    """An encoder or language model cannot be used for what was asked."""


class DownloadError(LayAlignError, OSError):
    """A file could not be fetched or is not the file it should be."""


class TrainingError(LayAlignError, RuntimeError):
    """Training cannot go on, for example because the loss is not a number."""


class EvaluationError(LayAlignError, RuntimeError):
    """An evaluation cannot go on, for example because memory does not suffice."""


def reason(error: BaseException) -> str:
    """What another library's error says, for the middle of a message: its first line, or its class.

    Returns:
        Some text without line ends.
    """
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


class ServeError(LayAlignError, RuntimeError):
    """A running server cannot give an answer, for example because it is full."""


class StopError(KeyboardInterrupt):
    """The process was asked to end by a signal, and what was done so far can be gone on with.

    Like every interruption it is no :class:`LayAlignError`, so that nobody takes it for a failure
    of their own.

    Args:
        message: What is done and how to go on.
        signal: Number of the signal.
    """

    def __init__(self, message: str, signal: int) -> None:
        """Take the exit code that shells give to such a process."""
        super().__init__(message)
        self.exit_code = 128 + signal


def nearest(found: str, known: Iterable[str]) -> str:
    """Hint, for the end of a message, at the known name that looks most like the one found.

    Returns:
        ``"; did you mean 'name'?"``, or nothing when no name is near.
    """
    near = get_close_matches(found, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
