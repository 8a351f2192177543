"""Predictions on disk as they are made, so that a killed evaluation can be taken up again."""

from __future__ import annotations

import glob
import json
import math
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from layalign import processes
from layalign.durable import lock, replace_file
from layalign.errors import DataError
from layalign.eval.results import Prediction

_FIELDS = {field.name for field in fields(Prediction)}
_ADVICE = "delete the file to answer its examples again"


def slug(system: str) -> str:
    """A system's name as part of a file's: ``bare LLM`` is ``bare_llm``."""
    return system.lower().replace(" ", "_")


def read_predictions(path: Path) -> list[Prediction]:
    """Read what a journal has written, in the order of the examples.

    A last line that a kill has torn is left out.

    Raises:
        DataError: It cannot be read, or a line is no prediction.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    found, _ = _parse(path, content)
    return [found[index] for index in sorted(found)]


class Journal:
    """A JSON lines file of the predictions of one system on one task.

    Every line is flushed when it is written. A last line that a kill has torn is dropped; its
    example counts as not answered. Of several processes each writes a file of its own, beside the
    one that all of them become in the end, or when a killed evaluation is taken up.

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
            processes.by_main(partial(_join, path))
            content = path.read_bytes() if path.exists() else b""
            whole = self._read(content, items)
            processes.gather(None)  # all have read it
            self._file: BinaryIO = _file_of(path, processes.rank()).open("ab")
            if not lock(self._file):
                self._file.close()
                raise DataError(f"{path}: another evaluation writes to it; wait for its end")
            if processes.is_main():
                self._file.truncate(whole)
        except OSError as error:
            raise DataError(f"{path}: cannot be used ({error.strerror})") from error

    def _read(self, content: bytes, items: int) -> int:
        """Take in the whole lines; return where the last of them ends, bytes."""
        self.done, whole = _parse(self.path, content)
        if unknown := [index for index in self.done if not 0 <= index < items]:
            raise DataError(
                f"{self.path}: is also of example {unknown[0]}, but there are {items}; {_ADVICE}"
            )
        return whole

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
        if kind is None:
            processes.gather(None)  # all have closed theirs
            processes.by_main(partial(_join, self.path))


def _file_of(path: Path, rank: int) -> Path:
    return path if rank == 0 else path.with_name(f"{path.name}.part{rank}")


def _join(path: Path) -> None:
    """Put the files of further processes into the main one's."""
    parts = sorted(path.parent.glob(f"{glob.escape(path.name)}.part*"))
    if parts:
        contents = (file.read_bytes() for file in (path, *parts) if file.exists())
        replace_file(path, b"".join(content[: content.rfind(b"\n") + 1] for content in contents))
    for part in parts:
        part.unlink()


def _parse(path: Path, content: bytes) -> tuple[dict[int, Prediction], int]:
    """The predictions in whole lines, and where the last of those ends, bytes."""
    *lines, torn = content.split(b"\n")
    found: dict[int, Prediction] = {}
    for number, line in enumerate(lines, start=1):
        try:
            values = json.loads(line, parse_float=finite_number, parse_constant=finite_number)
            found[_index(values)] = _prediction(values)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DataError(f"{path}, line {number}: is not a prediction; {_ADVICE}") from error
    return found, len(content) - len(torn)


def _index(values: dict[str, Any]) -> int:
    index = values["index"]
    if not isinstance(index, int):
        raise TypeError("index is a whole number")
    return index


def _prediction(values: dict[str, Any]) -> Prediction:
    prediction = Prediction(**{name: values[name] for name in _FIELDS})
    optional = (prediction.answer, prediction.parsed, prediction.reference)
    texts = (prediction.language, prediction.text, prediction.output)
    if not all(isinstance(text, str) for text in (*texts, *(t for t in optional if t is not None))):
        raise TypeError("text is expected")
    if prediction.correct not in (None, True, False):
        raise TypeError("correct is true, false or null")
    return prediction


def finite_number(text: str) -> float:
    """Read a number in JSON, in which Python also takes NaN and infinity.

    Raises:
        ValueError: It is one of those.
    """
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no figure")
    return value
