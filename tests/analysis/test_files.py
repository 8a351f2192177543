"""An analysis on disk: tables that hold its numbers, and figures that show something."""

from __future__ import annotations

import csv
import json
import logging
import sys
from pathlib import Path
from typing import Any

import pytest

from layalign.analysis.tables import TABLES, check_output, write_analysis
from layalign.errors import ConfigError

matplotlib = pytest.importorskip("matplotlib")


def read(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def test_tables_hold_the_numbers(
    found: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with caplog.at_level(logging.WARNING, logger="layalign"):
        files = write_analysis(found, tmp_path / "new")
    assert "pip install 'layalign[analysis]'" in caplog.text
    assert [file.name for file in files] == ["analysis.json", *(f"{name}.csv" for name in TABLES)]
    assert json.loads(files[0].read_text("utf-8")) == found
    folder = tmp_path / "new"
    for row in read(folder / "retrieval.csv"):
        accuracies = found["retrieval"][row["states"]][row["language"]]
        assert float(row["accuracy_percent"]) == accuracies[int(row["layer"])]
    for row in read(folder / "mixing.csv"):
        cell = int(row["language_layer"]), int(row["encoder_layer"])
        assert float(row["values"]) == found["mixing"]["values"][cell[0]][cell[1]]
    tokens = read(folder / "tokens.csv")
    first = [row["token"] for row in tokens if row["encoder_layer"] == "1"]
    assert first[:: len(found["tokens"]["english_tokens"])] == found["tokens"]["tokens"]
    assert len(read(folder / "projection.csv")) == 2 * 12
    assert len(read(folder / "similarity.csv")) == 4 * 2
    assert len(read(folder / "fusion_norms.csv")) == 3 * 2
    assert len(read(folder / "encoder_layers.csv")) == 3 * 4


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    check_output(tmp_path)
    check_output(tmp_path / "new")
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot make"):
        check_output(tmp_path / "file" / "below")
    (tmp_path / "file").unlink()
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "file"):
        with pytest.raises(ConfigError, match="already exists and is not empty"):
            check_output(place)


def grey(file: Path) -> Any:
    from matplotlib.image import imread

    return imread(file)[..., :3].mean(-1)


def test_figures_show_something(found: dict[str, Any], tmp_path: Path) -> None:
    from layalign.analysis.plots import FIGURES, draw_figures

    files = draw_figures(found, tmp_path)
    assert len(files) == 2 * len(FIGURES)
    for file in files:
        if file.suffix == ".png":
            assert grey(file).std() > 0.02
        else:
            assert "<path" in file.read_text("utf-8")
    again = tmp_path / "again"
    again.mkdir()
    draw_figures(found, again)
    for file in files:
        assert (again / file.name).read_bytes() == file.read_bytes()


def test_checkpoints_with_long_paths_leave_room(found: dict[str, Any], tmp_path: Path) -> None:
    from layalign.analysis.plots import draw_figures

    similarity = {f"{'far/' * 40}{n}": row for n, row in enumerate(found["similarity"].values())}
    draw_figures({**found, "similarity": similarity}, tmp_path)


def test_figures_of_many_languages_and_scripts(found: dict[str, Any], tmp_path: Path) -> None:
    """What has no glyph is numbered, what has no aligner left out, what is many summed up."""
    from layalign.analysis.plots import draw_figures

    tags = [*["de", "fr", "es", "fi", "ru", "zh", "ja", "ko", "ar", "he"], "zh-Hant"]
    many = dict.fromkeys(tags, found["retrieval"]["encoder"]["sw"])
    numbers = range(1, len(found["tokens"]["tokens"]) + 1)
    changed = {
        **found,
        "retrieval": {**found["retrieval"], "encoder": many},
        "tokens": {**found["tokens"], "language": "th", "tokens": ["ไข่" for _ in numbers]},
        "mixing": None,
        "fusion_norms": None,
    }
    names = {file.stem for file in draw_figures(changed, tmp_path)}
    assert names == {"similarity", "projection", "encoder_layers", "tokens", "retrieval"}


def test_which_characters_are_drawn() -> None:
    from layalign.analysis.plots import _token_labels, is_drawable

    assert all(map(is_drawable, "aßéłЖΩ<>.,1'"))
    assert not any(map(is_drawable, "ไশ水あ한שس\u0301"))
    assert _token_labels(["\u2581Na", "dia", "\u2581", "$x$"]) == ["Na", "dia", "\u2423", r"\$x\$"]
    assert _token_labels(["\u2581Na", "水"]) == ["1", "2"]


def test_looks_differ_in_black_and_white() -> None:
    from layalign.analysis.plots import _marker, _stroke

    looks = [(_marker(i), _stroke(i)) for i in range(10)]
    assert len(set(looks)) == len(looks)


def test_a_mean_of_encoder_layers_has_one_column(found: dict[str, Any], tmp_path: Path) -> None:
    one = {"keys": [[0.5], [1.0]], "values": [[2.0], [0.0]], "gates": [None, None]}
    changed = {**found, "mixing": {**found["mixing"], **one}}
    write_analysis(changed, tmp_path)
    rows = read(tmp_path / "mixing.csv")
    assert [row["encoder_layer"] for row in rows] == ["mean", "mean"]
    assert [row["gate"] for row in rows] == ["", ""]
