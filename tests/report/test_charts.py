from __future__ import annotations

import math
import re
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layalign.analysis.weights import Weights
from layalign.report import charts
from layalign.report.reading import read_folder
from layalign.report.records import Curve, Method
from layalign.train.methods import METHODS

STYLE = Path(charts.__file__).parent / "template" / "style.css"


@given(st.floats(1e-6, 1e9))
def test_ticks(top: float) -> None:
    marks = charts.ticks(top)
    assert marks[0] == 0
    assert 2 <= len(marks) <= 7
    assert marks[-2] < top <= marks[-1] * (1 + 1e-9)
    steps = [b - a for a, b in pairwise(marks)]
    assert max(steps) == pytest.approx(min(steps))


def test_bars(comparison: Path) -> None:
    """Lengths are in proportion, and an interval holds the end of its bar."""
    (scores,) = read_folder(comparison).scores
    chart = charts.bar_chart(scores)
    bars = [bar for row in chart.rows for bar in row.bars]
    assert len(bars) == len(scores.languages) * len(scores.methods)
    unit = {round((bar.end - bar.start) / bar.figure.value, 6) for bar in bars}
    assert len(unit) == 1
    for bar in bars:
        assert bar.low is not None
        assert bar.high is not None
        assert bar.low <= bar.end <= bar.high <= chart.ticks[-1][0]
    assert [bar.y for bar in bars] == sorted({bar.y for bar in bars})
    assert [label for _, label in chart.legend] == [m.label for m in scores.methods]
    assert [bar.colour for bar in chart.rows[0].bars] == charts.colours(scores.methods)


def method(name: str) -> Method:
    return Method(name=name, label=name, source="run", languages={}, averages={})


def test_every_method_has_its_colour() -> None:
    """Nine colours for nine methods, and each the same whoever stands beside it."""
    every = charts.colours([method(name) for name in METHODS])
    assert len(set(every)) == len(METHODS) == 9
    for name, colour in zip(METHODS, every, strict=True):
        assert charts.colours([method("rival"), method(name)])[1] == colour
    assert charts.colours([method("bare_llm")]) == charts.colours([method("base")])


def test_twins_have_colours_of_their_own() -> None:
    found = charts.colours([method(name) for name in ("layalign", "layalign", "qalign", "rival")])
    assert len(set(found)) == 4
    assert found[0] == charts.colours([method("layalign")])[0]
    assert found[2] == charts.colours([method("qalign")])[0]
    assert len(charts.colours([method("layalign")] * 20)) == 20


@given(st.lists(st.floats(0, 20), min_size=1, max_size=700))
def test_loss_keeps_its_mean(losses: list[float]) -> None:
    chart = charts.line_chart(Curve(losses=tuple(losses), dev=()))
    points = [tuple(map(float, point.split(","))) for point in chart.train.split()]
    assert len(points) == math.ceil(len(losses) / chart.window) <= 160
    assert all(0 <= x <= charts.PLOT_WIDTH for x, _ in points)
    assert all(0 <= y <= charts.PLOT_HEIGHT for _, y in points)
    assert chart.rows[-1][0] == len(losses)
    assert len(chart.rows) == min(len(points), 10)


def test_development_loss_has_its_rows() -> None:
    """Beside those of the training, which begin with the first mean and end with the last."""
    curve = Curve(losses=(3.0, 2.0, 1.0), dev=((2, 2.5), (3, 1.5)))
    assert charts.line_chart(curve).rows == ((1, 3.0, None), (2, 2.0, 2.5), (3, 1.0, 1.5))
    curve = Curve(losses=tuple(range(400, 0, -1)), dev=((0, 9.0), (200, 2.5)))
    rows = charts.line_chart(curve).rows
    assert rows[0] == (0, 399.0, 9.0)
    assert rows[-1] == (400, 1.0, None)  # a mean of one, as 3 do not divide 400
    assert len(rows) == 12
    assert [update for update, _, _ in rows] == sorted({update for update, _, _ in rows})
    assert (200, 201.0, 2.5) in rows  # the mean of 202, 201, 200: updates 199 to 201


def weights(keys: Any) -> Weights:
    return Weights(
        encoder_layers=[1, 2, 3, 4], language_layers=[0, 1, 2], gates=[], keys=keys, values=keys
    )


def test_heat_map() -> None:
    """A cell a weight; the shade grows with it, and its side is its sign."""
    keys = np.linspace(-1, 0.5, 12, dtype=np.float32).reshape(3, 4)
    chart = charts.heat_map(weights(keys), keys.tolist(), charts.largest_weight(keys.tolist()))
    assert chart.largest == 1
    for cell in chart.cells:
        assert cell.weight == keys[cell.language_layer, int(cell.encoder_layer) - 1]
        level = int(cell.shade[1:])
        assert level == round(6 * abs(cell.weight))
        assert (cell.shade[0] == "n") == (cell.weight < 0 and level > 0)


def test_heat_map_of_a_mean() -> None:
    keys = np.ones((3, 1), dtype=np.float32)
    chart = charts.heat_map(weights(keys), keys.tolist(), 1.0)
    assert [cell.encoder_layer for cell in chart.cells] == ["mean"] * 3


def test_gates() -> None:
    chart = charts.gate_chart([4, 5], [0.1, -0.2])
    assert chart is not None
    up, down = (row.bars[0] for row in chart.rows)
    assert up.start == down.end
    assert down.end - down.start == pytest.approx(2 * (up.end - up.start))
    assert charts.gate_chart([4, 5], [0.1, math.nan]) is None
    assert charts.gate_chart([0], [0.0]) is not None


def linear_parts(colour: str) -> list[float]:
    """Red, green and blue as light."""
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    return [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]


def luminance(colour: str) -> float:
    """Relative luminance of WCAG 2."""
    red, green, blue = linear_parts(colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [1, 2], ids=["light", "dark"])
def test_colours_have_contrast(theme: int) -> None:
    pattern = r"--(\w+): light-dark\((#\w{6}), (#\w{6})\)"
    found = {m[1]: m[1 + theme] for m in re.finditer(pattern, STYLE.read_text("utf-8"))}
    for ground in ("page", "card"):
        for name in ("ink", "soft", "link", "right", "wrong"):
            assert contrast(found[name], found[ground]) >= 4.5, name
        for number in range(9):
            assert contrast(found[f"s{number}"], found[ground]) >= 3, number


# What a dichromat sees of linear red, green and blue (Machado et al., 2009, severity 1).
EYES = {
    "full": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "tritanopia": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}


def oklab(linear: Any) -> Any:
    """Where a colour stands in Ottosson's OKLab, in which distances are about those seen."""
    cones = np.array(
        [
            [0.4122214708, 0.5363325363, 0.0514459929],
            [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005],
        ]
    )
    opponents = np.array(
        [
            [0.2104542553, 0.7936177850, -0.0040720468],
            [1.9779984951, -2.4285922050, 0.4505937099],
            [0.0259040371, 0.7827717662, -0.8086757660],
        ]
    )
    return opponents @ np.cbrt(cones @ np.maximum(linear, 0))


@pytest.mark.parametrize(
    ("eyes", "distance"),
    [("full", 0.11), ("protanopia", 0.1), ("deuteranopia", 0.1), ("tritanopia", 0.07)],
)
@pytest.mark.parametrize("theme", [1, 2], ids=["light", "dark"])
def test_no_two_methods_look_alike(theme: int, eyes: str, distance: float) -> None:
    pattern = r"--s\d: light-dark\((#\w{6}), (#\w{6})\)"
    found = [m[theme] for m in re.finditer(pattern, STYLE.read_text("utf-8"))]
    assert len(found) == 9
    places = [oklab(np.array(EYES[eyes]) @ linear_parts(colour)) for colour in found]
    for one, other in combinations(places, 2):
        assert np.linalg.norm(one - other) > distance


@pytest.mark.parametrize("side", ["p", "n"])
@pytest.mark.parametrize("theme", [1, 2], ids=["light", "dark"])
def test_shades_are_in_order(side: str, theme: int) -> None:
    """From zero on, every shade is further from the page's own lightness, by a visible step."""
    style = STYLE.read_text("utf-8")
    pattern = r"\.{}{} \{{ fill: light-dark\((#\w{{6}}), (#\w{{6}})\)"
    names = ["p0", *(f"{side}{n}" for n in range(1, charts.LEVELS + 1))]
    shades = []
    for name in names:
        match = re.search(pattern.format(name[0], name[1]), style)
        assert match is not None
        shades.append(luminance(match[theme]))
    pairs = list(pairwise(shades))
    assert all((a > b) if theme == 1 else (a < b) for a, b in pairs)
