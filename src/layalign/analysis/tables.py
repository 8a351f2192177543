"""An analysis on disk: all numbers as JSON, those of each figure as CSV."""

from __future__ import annotations

import csv
import importlib.util
import io
import logging
from collections.abc import Callable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from layalign.errors import ConfigError
from layalign.eval.report import write_json, write_text

Rows = Iterator[tuple[Any, ...]]

JSON_NAME = "analysis.json"


def check_output(folder: str | PathLike[str]) -> None:
    """Make the folder, and see that nothing would be overwritten.

    Raises:
        ConfigError: There is a file in that place, or a folder that is not empty, or it cannot be
            made.
    """
    path = Path(folder)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ConfigError(
            f"{path} already exists and is not empty; name another folder with output, or remove it"
        )
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"cannot make {path} ({error.strerror}); name another folder with output"
        ) from error


def write_analysis(found: Mapping[str, Any], folder: str | PathLike[str]) -> list[Path]:
    """Write ``analysis.json``, one CSV file and, with ``matplotlib``, two images for each figure.

    Without ``matplotlib`` a line in the log says what would draw the figures.

    Args:
        found: From :func:`layalign.analysis.analyze`.
        folder: Empty, or created.

    Returns:
        The files, in the order written.

    Raises:
        ConfigError: The folder is not empty or cannot be written to.
    """
    check_output(folder)
    files = [Path(folder) / JSON_NAME]
    write_json(files[0], found)
    for name, (header, rows) in TABLES.items():
        if found[name] is not None:
            files.append(Path(folder) / f"{name}.csv")
            write_text(files[-1], _csv(header, rows(found[name])))
    if importlib.util.find_spec("matplotlib") is None:
        logging.getLogger(__name__).warning(
            "figures are drawn by matplotlib, which is not installed; only numbers were written. "
            "Run pip install 'layalign[analysis]'"
        )
        return files
    from layalign.analysis.plots import draw_figures

    return files + draw_figures(found, folder)


def _csv(header: tuple[str, ...], rows: Rows) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return file.getvalue()


def _similarity(found: Mapping[str, Any]) -> Rows:
    for system, languages in found.items():
        for tag, row in languages.items():
            yield system, tag, row["pairs"], row["others"]


def _projection(found: Mapping[str, Any]) -> Rows:
    for system, projection in found.items():
        for tag, points in projection["points"].items():
            for i, point in enumerate(points):
                yield system, tag, i, *point


def _encoder_layers(found: Mapping[str, Any]) -> Rows:
    for tag, to_embedding in found["embedding"].items():
        for layer, pair in enumerate(zip(to_embedding, found["last"][tag], strict=True)):
            yield tag, layer, *pair


def _tokens(found: Mapping[str, Any]) -> Rows:
    for layer, matrix in found["layers"].items():
        for i, (token, row) in enumerate(zip(found["tokens"], matrix, strict=True), start=1):
            cells = zip(found["english_tokens"], row, strict=True)
            for j, (english, value) in enumerate(cells, start=1):
                yield layer, i, token, j, english, value


def _fusion_norms(found: Mapping[str, Any]) -> Rows:
    for tag, ratios in found["ratios"].items():
        for layer, ratio in zip(found["language_layers"], ratios, strict=True):
            yield tag, layer, ratio


def _mixing(found: Mapping[str, Any]) -> Rows:
    for i, layer in enumerate(found["language_layers"]):
        columns = zip(mixing_columns(found), found["keys"][i], found["values"][i], strict=True)
        for state, key, value in columns:
            yield layer, found["gates"][i], state, key, value


def mixing_columns(found: Mapping[str, Any]) -> list[str]:
    """What stands in each column of the mixing weights: a layer, or the mean of several."""
    layers = [str(layer) for layer in found["encoder_layers"]]
    return layers if len(layers) == len(found["keys"][0]) else ["mean"]


def _retrieval(found: Mapping[str, Any]) -> Rows:
    for states, languages in found.items():
        for tag, accuracies in languages.items():
            for layer, accuracy in enumerate(accuracies):
                yield states, tag, layer, accuracy


TABLES: Mapping[str, tuple[tuple[str, ...], Callable[[Mapping[str, Any]], Rows]]] = {
    "similarity": (("system", "language", "pairs", "others"), _similarity),
    "projection": (("system", "language", "sentence", "first", "second"), _projection),
    "encoder_layers": (
        ("language", "encoder_layer", "cosine_with_embedding", "cosine_with_last"),
        _encoder_layers,
    ),
    "tokens": (
        ("encoder_layer", "position", "token", "english_position", "english_token", "cosine"),
        _tokens,
    ),
    "fusion_norms": (("language", "language_layer", "ratio"), _fusion_norms),
    "mixing": (("language_layer", "gate", "encoder_layer", "keys", "values"), _mixing),
    "retrieval": (("states", "language", "layer", "accuracy_percent"), _retrieval),
}
"""For each figure the columns of its CSV file, and its rows."""
