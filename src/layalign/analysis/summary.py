"""What the command line shows of an analysis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from layalign.data import language_name

if TYPE_CHECKING:
    from rich.console import Console

_LARGE = ("projection", "tokens", "mixing")


def summarise(found: Mapping[str, Any]) -> dict[str, Any]:
    """The analysis without what is only of use in a figure: points, tokens and single weights."""
    return {name: value for name, value in found.items() if name not in _LARGE}


def print_analysis(console: Console, found: Mapping[str, Any]) -> None:
    """Print a table with the last layers: similarity of translations, and their retrieval."""
    from rich.table import Table

    table = Table(title=f"Translations in {found['source']}, last layers")
    table.add_column("Language")
    table.add_column("Sentences", justify="right")
    for name in found["similarity"]:
        table.add_column(f"Cosine, {name}", justify="right")
    for name in found["retrieval"]:
        table.add_column(f"Retrieval, {name}", justify="right")
    for tag, count in found["sentences"].items():
        cosines = [f"{languages[tag]['pairs']:.3f}" for languages in found["similarity"].values()]
        hits = [f"{languages[tag][-1]:.1f} %" for languages in found["retrieval"].values()]
        table.add_row(language_name(tag), str(count), *cosines, *hits)
    console.print(table)
