"""Tables in Markdown, for the terminal and for a page of the documentation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"


def markdown(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table, without a newline at its end."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def fill(name: str, text: str, page: Path = PAGE) -> None:
    """Put a text between the two marks ``<!-- NAME -->`` and ``<!-- /NAME -->`` of a page.

    Raises:
        ValueError: The page has no such marks.
    """
    start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->\n"
    before, found, rest = page.read_text("utf-8").partition(start)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"{page} has no {start.strip()} … {end.strip()}")
    page.write_text(f"{before}{start}{text}\n{end}{after}", "utf-8")
