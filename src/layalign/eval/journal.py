"""Predictions on disk as they are made, so that a killed evaluation can be taken up again."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from layalign.errors import DataError
from layalign.eval.results import Prediction

_FIELDS = {field.name for field in fields(Prediction)}


def slug(system: str) -> str:
    """A system's name as part of a file's: ``bare LLM`` is ``bare_llm``."""
    return system.lower().replace(" ", "_")


def read_predictions(path: Path) -> list[Prediction]:
    """Read a finished file, in the order of the examples.

    Raises:
        DataError: It cannot be read or holds something else.
    """
    try:
        rows = [json.loads(line) for line in path.read_bytes().splitlines()]
        rows.sort(key=lambda row: row["index"])
        return [Prediction(**{name: row[name] for name in _FIELDS}) for row in rows]
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} holds something else than predictions; run it again") from error


class Journal:
    """A JSON lines file of the predictions of one system on one task.

    Every line is flushed when it is written. A last line that a kill has torn is dropped; its
    example counts as not answered.

    Args:
        path: Created if missing, else taken up.
        items: Number of examples of the task.

    Raises:
        DataError: The file holds something else, or cannot be written.
    """

    def __init__(self, path: Path, items: int) -> None:
        """Read what is there."""
        self.path = path
        self.done: dict[int, Prediction] = {}
        """Predictions by the position of their example."""
        try:
            content = path.read_bytes() if path.exists() else b""
            whole = self._read(content, items)
            self._file: BinaryIO = path.open("ab")
            self._file.truncate(whole)
        except OSError as error:
            raise DataError(f"{path}: cannot be used ({error.strerror})") from error

    def _read(self, content: bytes, items: int) -> int:
        """Take in the whole lines; return where the last of them ends, bytes."""
        *lines, torn = content.split(b"\n")
        for number, line in enumerate(lines, start=1):
            try:
                values = json.loads(line)
                index = values.pop("index")
                prediction = Prediction(**{name: values[name] for name in _FIELDS})
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise self._wrong(number, "is not a prediction") from error
            if not isinstance(index, int) or not 0 <= index < items:
                raise self._wrong(number, f"is of example {index!r}, but there are {items}")
            self.done[index] = prediction
        return len(content) - len(torn)

    def _wrong(self, number: int, what: str) -> DataError:
        return DataError(
            f"{self.path}, line {number}: {what}; delete the file to answer its examples again"
        )

    def add(self, index: int, prediction: Prediction) -> None:
        """Write down one prediction."""
        self.done[index] = prediction
        line = json.dumps({"index": index, **asdict(prediction)}, ensure_ascii=False)
        self._file.write(line.encode("utf-8", "replace") + b"\n")
        self._file.flush()

    def __enter__(self) -> Journal:
        """Keep the file open."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the file."""
        self._file.close()
