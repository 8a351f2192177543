"""Figures of an analysis with ``matplotlib``, each drawn from the numbers alone.

Lines differ by colour (Okabe and Ito's, safe for colour-blind readers), marker and stroke, maps run
from dark to light, so that all of it can be read in black and white.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from layalign.analysis.tables import mixing_columns
from layalign.data import language_name
from layalign.eval.systems import BARE, LAYALIGN

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

T = TypeVar("T")

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
STROKES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
MAP = "cividis"
MOST_LINES = 8
"""With more languages than this their mean and range are drawn."""

_LABEL = 32  # characters of a checkpoint's name

_STYLE = {
    "figure.dpi": 150,
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "lines.markersize": 4,
    "lines.linewidth": 1.3,
    "svg.hashsalt": "layalign",  # the same figure twice is the same file
}


def draw_figures(found: Mapping[str, Any], folder: str | PathLike[str]) -> list[Path]:
    """Draw every figure of an analysis as PNG and SVG.

    Args:
        found: From :func:`layalign.analysis.analyze`, or its JSON.
        folder: Must exist.

    Returns:
        The files.
    """
    import matplotlib

    files = []
    with matplotlib.rc_context(_STYLE):
        for name, draw in FIGURES.items():
            if found[name] is None:
                continue
            figure = draw(found)
            for ending in ("png", "svg"):
                files.append(Path(folder) / f"{name}.{ending}")
                metadata = {"Date": None} if ending == "svg" else None
                figure.savefig(files[-1], metadata=metadata, bbox_inches="tight")
    return files


def _figure(
    width: float, height: float, title: str, columns: int = 1, **options: Any
) -> tuple[Figure, Any]:
    """A figure and its axes, in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.suptitle(title)
    return figure, figure.subplots(1, columns, squeeze=False, **options)[0]


def _similarity(found: Mapping[str, Any]) -> Figure:
    """Draw one row a language: for each system its pairs, and a stroke to sentences unpaired."""
    systems = found["similarity"]
    tags = list(found["sentences"])
    title = "Similarity of sentences and their English translations, last layer of the LLM"
    step = 0.7 / len(systems)
    figure, (axes,) = _figure(7, 1.4 + 0.22 * len(tags) * (1 + 0.4 * len(systems)), title)
    for i, (name, languages) in enumerate(systems.items()):
        rows = [j + (i - (len(systems) - 1) / 2) * step for j in range(len(tags))]
        pairs = [languages[tag]["pairs"] for tag in tags]
        others = [languages[tag]["others"] for tag in tags]
        starts = [p if o is None else o for p, o in zip(pairs, others, strict=True)]
        look = {"color": _colour(i), "marker": _marker(i), "linestyle": "none"}
        axes.hlines(rows, starts, pairs, color=_colour(i), linewidth=1)
        axes.plot(pairs, rows, label=_short(name), **look)
        axes.plot(starts, rows, **look, markerfacecolor="white")
    axes.set_yticks(range(len(tags)), [language_name(tag) for tag in tags])
    axes.invert_yaxis()
    axes.set_xlabel("Mean cosine: with the translation (filled), with the others (hollow)")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=min(len(systems), 3))
    return figure


def _projection(found: Mapping[str, Any]) -> Figure:
    title = "Principal components of sentences, last layer of the LLM"
    figure, panels = _figure(8.5, 4, title, 2)
    for axes, (name, projection) in zip(panels, found["projection"].items(), strict=True):
        for i, (tag, points) in enumerate(_english_last(projection["points"])):
            first, second = zip(*points, strict=True)
            size = 22 if tag == "en" else 12
            look = _language_look(tag, i)
            axes.scatter(first, second, s=size, linewidths=0.7, label=language_name(tag), **look)
        shares = [100 * share for share in projection["explained"]]
        axes.set_title(name)
        axes.set_xlabel(f"First component ({shares[0]:.0f} % of the variance)")
        axes.set_ylabel(f"Second component ({shares[1]:.0f} %)")
    _legend(figure, panels[0])
    return figure


def _encoder_layers(found: Mapping[str, Any]) -> Figure:
    title = "Similarity of the encoder's layers, token by token"
    figure, (axes,) = _figure(5.5, 3.6, title)
    labels = {"embedding": "with the embeddings", "last": "with the last layer"}
    for i, (name, label) in enumerate(labels.items()):
        _range(axes, list(found["encoder_layers"][name].values()), i, label)
    axes.set_xlabel("Encoder layer (0: embeddings)")
    axes.set_ylabel("Mean cosine (band: range of the languages)")
    _whole_numbers(axes)
    axes.legend()
    return figure


def _tokens(found: Mapping[str, Any]) -> Figure:
    tokens = found["tokens"]
    rows, columns = _token_labels(tokens["tokens"]), _token_labels(tokens["english_tokens"])
    title = f"Similarity of tokens, {language_name(tokens['language'])} and English"
    side = max(2.6, 0.16 * max(len(rows), len(columns)))
    figure, panels = _figure(
        len(tokens["layers"]) * side + 2, side + 1, title, len(tokens["layers"]), sharey=True
    )
    lowest = min(value for m in tokens["layers"].values() for row in m for value in row)
    for axes, (layer, matrix) in zip(panels, tokens["layers"].items(), strict=True):
        image = axes.imshow(matrix, cmap=MAP, vmin=lowest, vmax=1)
        axes.set_title(f"Encoder layer {layer}")
        axes.set_xticks(range(len(columns)), columns, rotation=90, fontsize=7)
        axes.set_yticks(range(len(rows)), rows, fontsize=7)
        axes.set_xlabel("English token")
        axes.grid(visible=False)
    numbered = "" if rows != _numbers(len(rows)) else " (number, see tokens.csv)"
    panels[0].set_ylabel(f"{language_name(tokens['language'])} token{numbered}")
    figure.colorbar(image, ax=list(panels), label="Cosine", shrink=0.8)
    return figure


def _fusion_norms(found: Mapping[str, Any]) -> Figure:
    norms = found["fusion_norms"]
    title = "Gated cross attention relative to self attention"
    figure, (axes,) = _figure(7.5, 3.6, title)
    _languages(axes, norms["ratios"], norms["language_layers"])
    axes.set_xlabel("LLM layer (from 0)")
    axes.set_ylabel("Ratio of norms, mean over soft tokens")
    axes.set_ylim(bottom=0)
    _whole_numbers(axes)
    _legend(figure, axes)
    return figure


def _mixing(found: Mapping[str, Any]) -> Figure:
    mixing = found["mixing"]
    states, layers = mixing_columns(mixing), [str(layer) for layer in mixing["language_layers"]]
    title = "Weights with which the aligner mixes encoder states"
    height = 1.6 + 0.2 * max(len(states), 8)
    figure, panels = _figure(3 + 0.24 * max(len(layers), 8), height, title, 2, sharey=True)
    every = [weight for part in ("keys", "values") for row in mixing[part] for weight in row]
    for axes, part in zip(panels, ("keys", "values"), strict=True):
        image = axes.imshow(
            list(zip(*mixing[part], strict=True)),
            cmap=MAP,
            vmin=min(every),
            vmax=max(every),
            aspect="auto",
            origin="lower",
        )
        axes.set_title(part.capitalize())
        step = math.ceil(len(layers) / 12)
        axes.set_xticks(range(0, len(layers), step), layers[::step])
        axes.set_yticks(range(len(states)), states)
        axes.set_xlabel("LLM layer (from 0)")
        axes.grid(visible=False)
    panels[0].set_ylabel("Encoder state (0: embeddings)")
    figure.colorbar(image, ax=list(panels), label="Weight")
    return figure


def _retrieval(found: Mapping[str, Any]) -> Figure:
    title = "Retrieval of translations between English and each language, by layer"
    retrieval = found["retrieval"]
    figure, panels = _figure(10, 3.8, title, len(retrieval), sharey=True)
    names = {"encoder": "Encoder", LAYALIGN: "LLM with LayAlign", BARE: "Bare LLM, reads the text"}
    chance = 100 / max(found["sentences"].values())
    for axes, (states, languages) in zip(panels, retrieval.items(), strict=True):
        _languages(axes, languages)
        axes.axhline(chance, color="#555555", linestyle=(0, (1, 2)), linewidth=1, label="guessing")
        axes.set_title(names[states])
        axes.set_xlabel(f"{'Encoder' if states == 'encoder' else 'LLM'} layer (0: input)")
        axes.set_ylim(0, 102)
        _whole_numbers(axes)
    panels[0].set_ylabel("Accuracy (%)")
    _legend(figure, panels[0])
    return figure


def _languages(
    axes: Axes, values: Mapping[str, Sequence[float]], layers: Sequence[int] | None = None
) -> None:
    """Draw a line for every language, or the mean and range of many."""
    if len(values) > MOST_LINES:
        _range(axes, list(values.values()), 0, f"mean of {len(values)} languages", layers)
        return
    for i, (tag, row) in enumerate(_english_last(values)):
        places = range(len(row)) if layers is None else layers
        look = _language_look(tag, i)
        axes.plot(places, row, **look, linestyle=_stroke(i), label=language_name(tag))


def _range(
    axes: Axes,
    rows: Sequence[Sequence[float]],
    number: int,
    label: str,
    layers: Sequence[int] | None = None,
) -> None:
    columns = list(zip(*rows, strict=True))
    places = range(len(columns)) if layers is None else layers
    means = [sum(column) / len(column) for column in columns]
    axes.plot(places, means, **_look(number), linestyle=_stroke(number), label=label)
    lows, highs = [min(column) for column in columns], [max(column) for column in columns]
    axes.fill_between(places, lows, highs, color=_colour(number), alpha=0.2, linewidth=0)


def _short(name: str) -> str:
    """The end of a long path, which tells checkpoints apart and leaves room for the figure."""
    return name if len(name) <= _LABEL else f"…{name[1 - _LABEL :]}"


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", ncols=math.ceil(len(labels) / 20))


def _whole_numbers(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _token_labels(tokens: Sequence[str]) -> list[str]:
    """The tokens, or numbers if one of them cannot be drawn as it is written."""
    words = [token.replace("\u2581", "").replace("$", r"\$") or "\u2423" for token in tokens]
    if all(is_drawable(character) for word in words for character in word):
        return words
    return _numbers(len(tokens))


def _numbers(count: int) -> list[str]:
    return [str(number) for number in range(1, count + 1)]


def is_drawable(character: str) -> bool:
    """Whether matplotlib's own font draws a character as it is written.

    It has few scripts, and text is drawn from left to right without joining letters or marks.
    """
    from matplotlib.font_manager import findfont, get_font

    joined = unicodedata.category(character) in ("Mn", "Mc")
    backwards = unicodedata.bidirectional(character) in ("R", "AL")
    known = get_font(findfont("DejaVu Sans")).get_char_index(ord(character))
    return bool(known) and not joined and not backwards


def _english_last(values: Mapping[str, T]) -> list[tuple[str, T]]:
    """Languages in an order in which each has the same number, and so the same look, everywhere."""
    return sorted(values.items(), key=lambda item: item[0] == "en")


def _language_look(tag: str, number: int) -> dict[str, Any]:
    """How a language is drawn; English lies below the others, as it may have the most sentences."""
    if tag == "en":
        return {"color": "#000000", "marker": "x", "zorder": 1}
    return _look(number) | {"zorder": 2}


def _look(number: int) -> dict[str, Any]:
    return {"color": _colour(number), "marker": _marker(number)}


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def _marker(number: int) -> str:
    return MARKERS[number % len(MARKERS)]


def _stroke(number: int) -> Any:
    return STROKES[number % len(STROKES)]


FIGURES: Mapping[str, Callable[[Mapping[str, Any]], Figure]] = {
    "similarity": _similarity,
    "projection": _projection,
    "encoder_layers": _encoder_layers,
    "tokens": _tokens,
    "fusion_norms": _fusion_norms,
    "mixing": _mixing,
    "retrieval": _retrieval,
}
"""How each figure is drawn; the names are those of an analysis's entries."""
