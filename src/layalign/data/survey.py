"""What a source holds and what its cleaning drops, as figures for each language."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import ceil
from typing import TYPE_CHECKING, Any

from layalign.data.cleaning import REASONS
from layalign.data.example import Example
from layalign.data.loading import read_source, templated
from layalign.data.rows import refuse
from layalign.data.sources import DataSource
from layalign.data.tokens import CHARACTERS, counter
from layalign.errors import DataError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_SHOWN = 3  # places of each kind
_STEP = 1000  # rows between two calls of a progress
_PERCENTILES = (50, 95)


def survey(
    source: DataSource,
    *,
    strict: bool = False,
    encoder: str | None = None,
    llm: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Read a source as training does, and count. In memory are counts, not examples.

    Args:
        source: With ``clean``, the checks that drop examples.
        strict: Raise the error of the first bad row rather than counting it.
        encoder: Model whose tokenizer measures texts: folder, hub id or name of an embedded model;
            by default that of ``clean``, and without one characters are counted.
        llm: The same for targets.
        progress: Told now and then how many rows have been read.

    Returns:
        * ``source``; ``units`` of ``text`` and ``target``: ``characters`` or the model;
          ``clean``: the settings, or None.
        * ``languages``: by tag ``examples`` (kept and dropped), ``kept``, ``dropped`` by reason,
          and, of those kept, ``text`` and ``target`` with the lengths ``p50``, ``p95`` and ``max``;
          None without any.
        * ``first``: of each reason the first places.
        * ``bad_rows``: their ``count`` and the ``first`` errors. The language of a bad row is not
          always known.

    Raises:
        DataError: The source cannot be read, or holds no example at all.
        ConfigError: A tokenizer cannot be loaded.
    """
    clean = source.clean
    text_unit = encoder or llm or (clean and (clean.encoder or clean.llm)) or None
    target_unit = llm or encoder or (clean and (clean.llm or clean.encoder)) or None
    found = _Survey(text_unit, target_unit, progress)
    placed = read_source(source, report=refuse if strict else found.bad, drop=found.drop)
    for _, example in placed:
        found.keep(templated(source, example))
    return {
        "source": source.label,
        "units": {"text": text_unit or CHARACTERS, "target": target_unit or CHARACTERS},
        "clean": None if clean is None else dataclasses.asdict(clean),
        **found.to_dict(),
    }


class _Survey:
    """The counts of a source."""

    def __init__(
        self,
        text_unit: str | None,
        target_unit: str | None,
        progress: Callable[[int], None] | None,
    ) -> None:
        self.progress, self.n_read = progress, 0
        self.counters = {"text": counter(text_unit), "target": counter(target_unit)}
        self.kept: Counter[str] = Counter()
        self.dropped: dict[str, Counter[str]] = {}
        self.lengths: dict[tuple[str, str], Counter[int]] = {}
        self.first: dict[str, list[str]] = {}
        self.n_bad = 0
        self.errors: list[str] = []

    def step(self) -> None:
        self.n_read += 1
        if self.progress is not None and self.n_read % _STEP == 0:
            self.progress(self.n_read)

    def bad(self, error: DataError) -> None:
        self.step()
        self.n_bad += 1
        self.errors += [str(error)] if len(self.errors) < _SHOWN else []

    def drop(self, where: str, example: Example, reason: str) -> None:
        self.step()
        self.dropped.setdefault(example.language, Counter())[reason] += 1
        places = self.first.setdefault(reason, [])
        places += [where] if len(places) < _SHOWN else []

    def keep(self, example: Example) -> None:
        self.step()
        self.kept[example.language] += 1
        for side, count in self.counters.items():
            if text := getattr(example, side):
                self.lengths.setdefault((example.language, side), Counter())[count(text)] += 1

    def to_dict(self) -> dict[str, Any]:
        languages = sorted({*self.kept, *self.dropped})
        return {
            "languages": {language: self._row(language) for language in languages},
            "first": {reason: self.first[reason] for reason in REASONS if reason in self.first},
            "bad_rows": {"count": self.n_bad, "first": self.errors},
        }

    def _row(self, language: str) -> dict[str, Any]:
        dropped = self.dropped.get(language, Counter())
        return {
            "examples": self.kept[language] + dropped.total(),
            "kept": self.kept[language],
            "dropped": {reason: dropped[reason] for reason in REASONS if reason in dropped},
            **{side: _spread(self.lengths.get((language, side))) for side in self.counters},
        }


def _spread(lengths: Counter[int] | None) -> dict[str, int] | None:
    """Percentiles by nearest rank, and the maximum."""
    if lengths is None:
        return None
    found = {f"p{percent}": percentile(lengths, percent) for percent in _PERCENTILES}
    return {**found, "max": max(lengths)}


def percentile(lengths: Counter[int], percent: int) -> int:
    """The smallest length that at least so many percent of the lengths do not exceed."""
    wanted, passed = ceil(lengths.total() * percent / 100), 0
    for length in sorted(lengths):
        passed += lengths[length]
        if passed >= wanted:
            return length
    return 0


@contextmanager
def survey_bar(console: "Console", *, label: str) -> Iterator[Callable[[int], None]]:
    """Show how many rows :func:`survey` has read, while it reads and on a terminal alone."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    rows = TextColumn("{task.completed:,} rows")
    off = not console.is_terminal
    with Progress(*columns, rows, console=console, transient=True, disable=off) as bars:
        task = bars.add_task(label, total=None)  # which only the end of the source tells
        yield lambda n_read: bars.update(task, completed=n_read)


def print_survey(console: "Console", found: Mapping[str, Any]) -> None:
    """Print what :func:`survey` returns."""
    console.print(_table(found))
    for reason, places in found["first"].items():
        text = f"{reason}: {REASONS[reason]}; first: {', '.join(places)}"
        console.print(text, style="dim", highlight=False, markup=False)
    bad = found["bad_rows"]
    if bad["count"]:
        skipped = found["clean"] is not None and found["clean"]["bad_rows"] == "skip"
        use = "skips" if skipped else "refuses"
        text = f"bad rows: {bad['count']}, not counted above, which training {use}; first:"
        console.print(text, style="yellow", highlight=False, markup=False)
        for error in bad["first"]:
            console.print(f"  {error}", highlight=False, markup=False)


def _table(found: Mapping[str, Any]) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    units = " and ".join(dict.fromkeys(found["units"].values()))
    title = f"{found['source']} (lengths: p50, p95, max in {units})"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("Language", no_wrap=True)
    for name in ("Examples", "Kept"):
        table.add_column(name, justify="right")
    for name in ("Dropped", "Text", "Target"):
        table.add_column(name)
    for language, row in found["languages"].items():
        dropped = ", ".join(f"{reason} {count}" for reason, count in row["dropped"].items())
        lengths = [
            ", ".join(map(str, row[side].values())) if row[side] else "-"
            for side in ("text", "target")
        ]
        counts = (f"{row['examples']:,}", f"{row['kept']:,}")
        table.add_row(language, *counts, dropped or "-", *lengths)
    return table
