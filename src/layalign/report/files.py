"""Read the files that runs, evaluations and comparisons leave behind, and say which is damaged."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from layalign.errors import ConfigError, DataError
from layalign.eval.results import Prediction

_PREDICTION = [field.name for field in fields(Prediction)]


@contextmanager
def understood(path: Path) -> Iterator[None]:
    """Turn what goes wrong with the values of a file into one clear error.

    Raises:
        DataError: A value is missing or of another type.
    """
    try:
        yield
    except KeyError as error:
        raise DataError(f"{path}: {error} is missing; {_ADVICE}") from error
    except (AttributeError, TypeError, ValueError) as error:
        if isinstance(error, (ConfigError, DataError)):
            raise
        raise DataError(f"{path}: holds something unexpected ({error}); {_ADVICE}") from error


_ADVICE = "the file is damaged or not layalign's; write it again"


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        DataError: It cannot be read, or is something else.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"), **_STRICT)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is not valid JSON ({error}); {_ADVICE}") from error
    if not isinstance(values, dict):
        raise DataError(f"{path}: holds {type(values).__name__}, not an object; {_ADVICE}")
    return values


def read_predictions(path: Path) -> list[Prediction]:
    """Read a file of predictions, in the order of their examples.

    A last line that a kill has torn is left out.

    Raises:
        DataError: It cannot be read, or a line is no prediction.
    """
    try:
        *lines, _ = path.read_bytes().split(b"\n")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    found: dict[int, Prediction] = {}
    for number, line in enumerate(lines, start=1):
        try:
            values = json.loads(line, **_STRICT)
            found[int(values["index"])] = _prediction(values)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DataError(f"{path}, line {number}: is not a prediction; {_ADVICE}") from error
    return [found[index] for index in sorted(found)]


def _prediction(values: dict[str, Any]) -> Prediction:
    prediction = Prediction(**{name: values[name] for name in _PREDICTION})
    optional = (prediction.answer, prediction.parsed, prediction.reference)
    texts = (prediction.language, prediction.text, prediction.output)
    if not all(isinstance(text, str) for text in (*texts, *(t for t in optional if t is not None))):
        raise TypeError("text is expected")
    if prediction.correct not in (None, True, False):
        raise TypeError("correct is true, false or null")
    return prediction


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not a number that can be shown")
    return value


_STRICT: dict[str, Any] = {"parse_float": _finite, "parse_constant": _finite}
