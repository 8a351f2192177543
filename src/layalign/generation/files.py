"""Answer a file of texts; a killed job goes on where it was."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from layalign import processes
from layalign.data import Example
from layalign.data.formats import Format, file_rows
from layalign.data.languages import UNKNOWN_LANGUAGE
from layalign.data.readers import build
from layalign.data.rows import as_text, listed, plain_text
from layalign.errors import ConfigError, DataError, nearest
from layalign.eval.loading import load_systems
from layalign.eval.provenance import describe_checkpoint, hash_files
from layalign.eval.report import check_output, write_text
from layalign.eval.results_folder import ResultsFolder
from layalign.eval.runner import Progress, predict
from layalign.eval.systems import System
from layalign.generation.answers import decoding

PART = ".part"
"""End of the name of the folder beside the output that holds what is answered so far."""


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Names of a file's columns."""

    text: str = "text"
    """What is answered."""

    language: str = "language"
    """Its BCP-47 tag; a file need not have it."""

    output: str = "output"
    """Written: the answer. The bare language model's is beside it, as ``bare_`` and this name."""

    @property
    def written(self) -> tuple[str, str]:
        """Both that may be written."""
        return self.output, f"bare_{self.output}"


def generate_file(
    checkpoint: str | PathLike[str],
    source: str | PathLike[str],
    target: str | PathLike[str],
    *,
    columns: Columns | None = None,
    language: str | None = None,
    max_new_tokens: int = 256,
    temperature: float | None = None,
    num_beams: int = 1,
    base: bool = False,
    batch_size: int = 8,
    dtype: str | None = None,
    progress: Progress | None = None,
) -> int:
    """Answer every row of a file, in languages that may be mixed in any order.

    What is answered so far is kept in a folder beside ``target``. The same call goes on from there
    after an interruption, and removes it in the end.

    Args:
        checkpoint: As in :func:`layalign.eval.evaluate_checkpoint`.
        source: JSON lines, JSON, CSV, TSV with a header, or Parquet; all but Parquet may end in
            ``.gz``.
        target: JSON lines: the rows as they were, in their order, with the answers.
        columns: Names of the columns read and written.
        language: BCP-47 tag of rows that do not state one; only some encoders need it.
        max_new_tokens: Longest answer, tokens.
        temperature: Sample at this temperature; None for the likeliest token.
        num_beams: Beams of a beam search.
        base: Let the bare language model inside the checkpoint answer too.
        batch_size: Texts answered at a time.
        dtype: Arithmetic type of the models, ``"bfloat16"`` …; None for as stored.
        progress: Told after every batch.

    Returns:
        The number of rows.

    Raises:
        LayAlignError: The file, the checkpoint or a setting cannot be used, or ``target`` is there.
    """
    columns, place = columns or Columns(), Path(target)
    if place.exists():
        raise ConfigError(f"{place} is there already; move it away, or choose another output")
    check_output(place)
    rows, examples = _read(Path(source), columns, language)
    settings = {
        "checkpoint": describe_checkpoint(checkpoint),
        "input_sha256": hash_files(Path(source)),
        "columns": [columns.text, columns.language],
        **{"language": language, "max_new_tokens": max_new_tokens, "base": base},
        **{"temperature": temperature, "num_beams": num_beams, "dtype": dtype},
    }
    part = Path(fspath(place) + PART)
    folder = ResultsFolder(part, settings, resume=True)
    systems = {
        name: replace(system, generation=decoding(system.tokenizer, temperature, num_beams))
        for name, system in load_systems(
            checkpoint, bare=base, dtype=dtype, max_new_tokens=max_new_tokens
        ).items()
    }
    outputs = _answer(systems, examples, folder, batch_size, progress)
    if processes.is_main():
        write_text(place, _lines(rows, outputs, columns))
        shutil.rmtree(part)
    return len(rows)


def _answer(
    systems: Mapping[str, System],
    examples: Sequence[Example],
    folder: ResultsFolder,
    batch_size: int,
    progress: Progress | None,
) -> list[list[str]]:
    """For each system its answers to all examples, those in the folder not asked for again."""
    outputs = []
    for i, (name, system) in enumerate(systems.items()):
        with folder.journal("answers", name, len(examples)) as journal:
            found = predict(
                system,
                examples,
                batch_size=batch_size,
                journal=journal,
                progress=_nth(progress, i, len(systems), name),
            )
        outputs.append([prediction.output for prediction in found])
    return outputs


def _read(
    path: Path, columns: Columns, language: str | None
) -> tuple[list[Mapping[str, Any]], list[Example]]:
    """All rows, and each as an example."""
    placed = [(where, row) for where, row in file_rows(path, Format()) if row is not None]
    if not placed:
        raise DataError(f"{path}: holds no rows; expected at least one")
    examples = [_example(where, row, columns, language) for where, row in placed]
    return [row for _, row in placed], examples


def _example(where: str, row: Mapping[str, Any], columns: Columns, language: str | None) -> Example:
    if columns.text not in row:
        raise DataError(
            f"{where}: no column {columns.text!r}; the columns are {listed(tuple(row))}; name the "
            f"one that holds the text (--text-column){nearest(columns.text, row)}"
        )
    if taken := [name for name in columns.written if name in row]:
        raise DataError(
            f"{where}: there is a column {taken[0]!r} already; name another one for the "
            "answers (--output-column)"
        )
    tag = as_text(row.get(columns.language)) or language or UNKNOWN_LANGUAGE
    text = plain_text(as_text(row[columns.text]) or "")
    return build(where, {"text": text, "language": tag})[1]


def _nth(progress: Progress | None, i: int, n_systems: int, name: str) -> Progress | None:
    """The progress of one of several systems that answer the same rows one after the other."""
    if progress is None:
        return None

    def report(done: int, total: int, label: str = name) -> None:
        progress(i * total + done, n_systems * total, label)

    return report


def _lines(
    rows: Sequence[Mapping[str, Any]], outputs: Sequence[Sequence[str]], columns: Columns
) -> str:
    answered = (
        {**row, **dict(zip(columns.written, texts, strict=False))}
        for row, *texts in zip(rows, *outputs, strict=True)
    )
    return "".join(json.dumps(row, ensure_ascii=False, default=_plain) + "\n" for row in answered)


def _plain(value: Any) -> Any:
    """What JSON has no word for: exact decimals, and dates and the like of Parquet."""
    return float(value) if isinstance(value, Decimal) else str(value)
