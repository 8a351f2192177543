"""Read the files that runs, evaluations and comparisons leave behind, and say which is damaged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from layalign.errors import ConfigError, DataError
from layalign.eval.journal import finite_number


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
    except (AttributeError, OverflowError, TypeError, ValueError) as error:
        if isinstance(error, (ConfigError, DataError)):
            raise
        raise DataError(f"{path}: holds something unexpected ({error}); {_ADVICE}") from error


def inside(folder: Path, name: str) -> Path:
    """A file or folder below a folder, as one of our files names it.

    Raises:
        DataError: The name leads out of the folder.
    """
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise DataError(f"{folder}: names {name!r}, which is not in it; {_ADVICE}")
    return folder / name


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


_STRICT: dict[str, Any] = {"parse_float": finite_number, "parse_constant": finite_number}
