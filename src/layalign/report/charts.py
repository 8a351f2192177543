"""Where the marks of the charts stand; the template draws them as SVG.

Lengths are in the units of the drawing, about a pixel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from layalign.eval.metrics import Mean
from layalign.report.records import Curve, Figure, Method, Scores
from layalign.train.methods import METHODS

if TYPE_CHECKING:
    from layalign.analysis.weights import Weights

WIDTH = 720
_OURS, _BARE, _OTHERS = 0, 7, (1, 2, 3, 4, 5, 6, 8)
_FIXED = {"layalign": _OURS, "bare_llm": _BARE, "base": _BARE}
_FIXED |= zip((name for name in METHODS if name not in _FIXED), _OTHERS, strict=False)
_POINTS = 160
LEVELS = 6
"""Shades of a heat map to each side of zero."""
BAR, GAP, LABEL, VALUE, TOP = 12, 12, 150, 52, 24
PLOT_WIDTH, PLOT_HEIGHT, PLOT_LEFT, PLOT_BOTTOM = 380, 190, 46, 34


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One bar of a bar chart."""

    y: float
    colour: int
    label: str
    figure: Figure
    start: float
    end: float
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class BarRow:
    """Bars of one language, or of a layer."""

    label: str
    y: float
    """Of the middle of the label."""
    bars: tuple[Bar, ...]


@dataclass(frozen=True, kw_only=True)
class BarChart:
    """Bars to the right, the figures at the right edge."""

    rows: tuple[BarRow, ...]
    ticks: tuple[tuple[float, str], ...]
    height: float
    legend: tuple[tuple[int, str], ...]
    """Number of the colour, and what has it."""


@dataclass(frozen=True, kw_only=True)
class LineChart:
    """The losses of a stage."""

    train: str
    """Points of the line, as SVG wants them."""
    dev: tuple[tuple[float, float], ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    rows: tuple[tuple[int, float, float | None], ...]
    """For the table: updates done, loss of training, loss on the development set. The first and the
    last row hold the first and the last mean."""
    window: int
    """Updates that a point is the mean of."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell of a heat map."""

    x: float
    y: float
    shade: str
    """``p0`` … for weights from zero up, ``n1`` … for those below."""
    weight: float
    encoder_layer: str
    language_layer: int


@dataclass(frozen=True, kw_only=True)
class HeatMap:
    """Weights of encoder layers (across) in LLM layers (down)."""

    cells: tuple[Cell, ...]
    largest: float
    width: float
    height: float
    cell: tuple[float, float]
    columns: tuple[tuple[float, str], ...]
    rows: tuple[tuple[float, str], ...]


def ticks(top: float) -> list[float]:
    """Round numbers from 0 to the first at or above ``top``, at most seven."""
    if top < 1e-9:
        return [0.0, 1.0]
    power = 10.0 ** math.floor(math.log10(top))
    step = next(power * factor for factor in (0.2, 0.5, 1, 2) if power * factor * 6 >= top)
    return [step * n for n in range(math.ceil(top / step - 1e-9) + 1)]


def colours(methods: Sequence[Method]) -> list[int]:
    """Give every method the colour that it has in all charts.

    What stands there twice, or is no method of ours, gets one that is free as long as there is one.
    """
    taken = {_FIXED[method.name] for method in methods if method.name in _FIXED}
    found: list[int] = []
    for number, method in enumerate(methods):
        colour = _FIXED.get(method.name)
        if colour is None or colour in found:
            free = [other for other in _OTHERS if other not in taken]
            colour = free[0] if free else _OTHERS[number % len(_OTHERS)]
            taken.add(colour)
        found.append(colour)
    return found


def bar_chart(scores: Scores) -> BarChart:
    """Lay out the score of every method in every language, with its interval."""
    ends = [f.high or f.value for m in scores.methods for f in m.languages.values()]
    marks = ticks(max([*ends, 1.0]))
    scale = (WIDTH - LABEL - VALUE) / marks[-1]
    coloured = list(zip(colours(scores.methods), scores.methods, strict=True))
    rows, y = [], float(TOP)
    for language in scores.languages:
        shown = [(c, m) for c, m in coloured if language.tag in m.languages]
        bars = tuple(
            _bar(y + place * BAR, colour, method, language.tag, scale)
            for place, (colour, method) in enumerate(shown)
        )
        label_y = y + BAR * len(shown) / 2
        rows.append(BarRow(label=language.name, y=label_y, bars=bars))
        y += BAR * len(shown) + GAP
    return BarChart(
        rows=tuple(rows),
        ticks=tuple((LABEL + mark * scale, f"{mark:g}") for mark in marks),
        height=y,
        legend=tuple((colour, method.label) for colour, method in coloured),
    )


def _bar(y: float, colour: int, method: Method, tag: str, scale: float) -> Bar:
    figure = method.languages[tag]
    return Bar(
        y=y,
        colour=colour,
        label=method.label,
        figure=figure,
        start=LABEL,
        end=LABEL + figure.value * scale,
        low=None if figure.low is None else LABEL + figure.low * scale,
        high=None if figure.high is None else LABEL + figure.high * scale,
    )


def line_chart(curve: Curve) -> LineChart:
    """Lay out the losses of a stage; of many updates, each point is a mean of neighbours."""
    updates = len(curve.losses)
    window = max(1, math.ceil(updates / _POINTS))
    means = [
        (min(start + window, updates), _mean(curve.losses[start : start + window]))
        for start in range(0, updates, window)
    ]
    last = max([updates, *(update for update, _ in curve.dev)])
    y_marks = ticks(max([loss for _, loss in means] + [loss for _, loss in curve.dev]))
    right, bottom = PLOT_WIDTH - 12, PLOT_HEIGHT - PLOT_BOTTOM

    def place(update: float, loss: float) -> tuple[float, float]:
        x = PLOT_LEFT + (right - PLOT_LEFT) * update / last
        return round(x, 1), round(bottom - (bottom - 10) * loss / y_marks[-1], 1)

    return LineChart(
        train=" ".join(f"{x},{y}" for x, y in (place(*point) for point in means)),
        dev=tuple(place(*point) for point in curve.dev),
        x_ticks=tuple((place(u, 0)[0], f"{u:g}") for u in ticks(last) if u <= last and u % 1 == 0),
        y_ticks=tuple((place(0, loss)[1], f"{loss:g}") for loss in y_marks),
        rows=_loss_rows(means, curve),
        window=window,
    )


def _loss_rows(
    means: Sequence[tuple[int, float]], curve: Curve
) -> tuple[tuple[int, float, float | None], ...]:
    """Ten points of the training, and where the development loss was taken the nearest to it."""
    chosen = (means[round(n * (len(means) - 1) / 9)] for n in range(10))
    rows: dict[int, tuple[float, float | None]] = {update: (loss, None) for update, loss in chosen}
    for update, loss in curve.dev:
        nearest = min(means, key=lambda point: abs(point[0] - update))
        rows[update] = (nearest[1], loss)
    return tuple((update, *rows[update]) for update in sorted(rows))


def gate_chart(layers: Sequence[int], gates: Sequence[float]) -> BarChart | None:
    """Lay out the gate of every fused LLM layer; None where there is no number for a layer."""
    if not gates or not all(map(math.isfinite, gates)):
        return None
    marks = ticks(max([abs(gate) for gate in gates]))
    half = (WIDTH - LABEL - VALUE) / 2
    zero, scale = LABEL + half, half / marks[-1]
    rows = tuple(
        BarRow(
            label=f"Layer {layer}",
            y=TOP + (n + 0.5) * BAR,
            bars=(_gate_bar(n, layer, gate, zero, scale),),
        )
        for n, (layer, gate) in enumerate(zip(layers, gates, strict=True))
    )
    values = [-mark for mark in reversed(marks[1:])] + marks
    return BarChart(
        rows=rows,
        ticks=tuple(
            (zero + value * scale, f"{value:.3g}".replace("-", "\N{MINUS SIGN}"))
            for value in values
        ),
        height=TOP + BAR * len(rows) + GAP,
        legend=(),
    )


def _gate_bar(number: int, layer: int, gate: float, zero: float, scale: float) -> Bar:
    return Bar(
        y=TOP + number * BAR,
        colour=_OURS if gate >= 0 else _OTHERS[0],
        label=f"layer {layer}",
        figure=Mean(value=gate),
        start=min(zero, zero + gate * scale),
        end=max(zero, zero + gate * scale),
        low=None,
        high=None,
    )


def largest_weight(*maps: Sequence[Sequence[float]]) -> float:
    """The largest absolute weight of all maps, so that their shades mean the same."""
    return max(abs(weight) for mixing in maps for line in mixing for weight in line)


def heat_map(weights: Weights, mixing: Sequence[Sequence[float]], largest: float) -> HeatMap:
    """Lay out the mixing weights of keys or of values.

    Args:
        weights: For the numbers of the layers.
        mixing: ``(n_fused, n_enc_used)``.
        largest: The absolute weight that the strongest shade stands for.
    """
    left, top, height = 32, 6, 13.0
    layers = [str(layer) for layer in weights.encoder_layers]
    if len(mixing[0]) != len(layers):
        layers = ["mean"]  # of them all, which the aligner may be fed with
    width = (340 - left) / len(layers)
    cells = tuple(
        Cell(
            x=round(left + column * width, 2),
            y=top + row * height,
            shade=_shade(weight, largest),
            weight=weight,
            encoder_layer=layers[column],
            language_layer=weights.language_layers[row],
        )
        for row, line in enumerate(mixing)
        for column, weight in enumerate(line)
    )
    bottom = top + height * len(weights.language_layers)
    return HeatMap(
        cells=cells,
        largest=largest,
        width=340,
        height=bottom + 36,
        cell=(round(width, 2), height),
        columns=_every_other(layers, left + width / 2, width),
        rows=_every_other(weights.language_layers, top + height / 2, height),
    )


def _every_other(
    layers: Sequence[object], first: float, step: float
) -> tuple[tuple[float, str], ...]:
    """Labels of layers, thinned out where they would touch."""
    stride = math.ceil(16 / step) if len(layers) > 1 else 1
    return tuple(
        (first + n * step, str(layer)) for n, layer in enumerate(layers) if n % stride == 0
    )


def _shade(weight: float, largest: float) -> str:
    level = round(LEVELS * min(1.0, abs(weight) / largest)) if largest else 0
    return f"{'n' if weight < 0 and level else 'p'}{level}"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
