"""How time and memory of a generation grow with the work, one size at a time.

Every panel varies one size and leaves the others as they are. The exponent is the slope of a line
through the logarithms: 1 is proportional, 0 does not matter. Time is that of the fastest round:
whatever a machine does beside it only adds.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from layalign.bench import Setup, bench_generation
from layalign.bench.setup import usual_device, usual_dtype
from layalign.eval.report import write_json
from layalign.train.footprint import Lengths
from tables import PAGE, fill, markdown

BASE = {"batch": 4, "encoder": 32, "new_tokens": 32, "layers": 4, "width": 256}
AXES = {
    "batch": (1, 2, 4, 8, 16, 32),
    "encoder": (16, 32, 64, 128, 256, 512),
    "new_tokens": (16, 32, 64, 128, 256),
    "layers": (2, 4, 8, 16),
    "width": (128, 256, 512, 1024),
}
LABELS = {
    "batch": "Batch",
    "encoder": "Encoder tokens",
    "new_tokens": "New tokens",
    "layers": "LLM layers",
    "width": "LLM width",
}
FIGURE = "figures/growth.svg"  # as the page links to it
SERIES = {
    "seconds_min": "LayAlign, s",
    "bare_seconds_min": "Bare LLM, s",
    "work_gib": "LayAlign, GiB beside the weights",
}


@dataclass(frozen=True)
class Growth:
    """What was found along one axis."""

    axis: str
    sizes: Sequence[int]
    rows: Sequence[dict[str, Any]]

    def by_size(self) -> dict[str, dict[str, Any]]:
        """All figures, for a file."""
        return {str(size): row for size, row in zip(self.sizes, self.rows, strict=True)}

    def values(self, series: str) -> list[float]:
        """One figure of every row."""
        return [row[series] for row in self.rows]

    def exponent(self, series: str) -> float | None:
        """Slope in the logarithms; None where there is nothing to take them of."""
        values = self.values(series)
        if not all(values):
            return None
        return float(np.polyfit(np.log(self.sizes), np.log(values), 1)[0])


def measure(axis: str, sizes: Sequence[int], device: str, repeats: int) -> Growth:
    """Generate with every size along an axis."""
    rows = []
    for size in sizes:
        print(f"{LABELS[axis]}: {size}", file=sys.stderr)
        at = {**BASE, axis: size}
        found = bench_generation(
            _setup(at, device),
            batches=(at["batch"],),
            new_tokens=(at["new_tokens"],),
            lengths=Lengths(encoder=at["encoder"], prompt=32, target=0),
            repeats=repeats,
            published=False,
        )
        rows.append(found["rows"][0])
    return Growth(axis, sizes, rows)


def _setup(at: dict[str, int], device: str) -> Setup:
    width, heads = at["width"], at["width"] // 64
    return Setup(
        encoder=f"mt5:layers=3,width={width // 2},heads={heads},vocab=8000",
        llm=f"llama:layers={at['layers']},width={width},heads={heads},vocab=8000",
        random_weights=True,
        device=device,
        dtype=usual_dtype(device),
    )


def table(found: Sequence[Growth]) -> str:
    """Of every axis the ends, what was measured there, and the exponents."""
    columns = ["Size", "From … to"]
    for label in SERIES.values():
        columns += [label, "Exponent"]
    rows = []
    for growth in found:
        cells = [LABELS[growth.axis], f"{growth.sizes[0]} … {growth.sizes[-1]}"]
        for name in SERIES:
            first, *_, last = growth.values(name)
            slope = growth.exponent(name)
            cells += ["-", "-"] if slope is None else [f"{first:.3g} … {last:.3g}", f"{slope:.2f}"]
        rows.append(cells)
    return markdown(columns, rows)


def plot(found: Sequence[Growth], path: Path) -> None:
    """Time above, memory below, both axes logarithmic."""
    figure, panels = plt.subplots(
        2, len(found), figsize=(3 * len(found), 5.5), sharey="row", layout="constrained"
    )
    for column, growth in enumerate(found):
        for row, names in enumerate((("seconds_min", "bare_seconds_min"), ("work_gib",))):
            panel = panels[row][column]
            for name in names:
                label = SERIES[name].removesuffix(", s")
                panel.plot(growth.sizes, growth.values(name), marker="o", label=label)
            panel.set(xscale="log", yscale="log", xlabel=LABELS[growth.axis])
            panel.set_xticks(growth.sizes, [str(size) for size in growth.sizes])
            panel.minorticks_off()
    panels[0][0].set_ylabel("Seconds")
    panels[0][0].legend(frameon=False)
    panels[1][0].set_ylabel(SERIES["work_gib"])
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    """Measure, print the table and write everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default=usual_device())
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("runs/bench"))
    parser.add_argument("--docs", action="store_true", help="put them into the documentation")
    args = parser.parse_args()
    found = [measure(axis, sizes, args.device, args.repeats) for axis, sizes in AXES.items()]
    text = table(found)
    print(text)
    args.output.mkdir(parents=True, exist_ok=True)
    write_json(
        args.output / "growth.json",
        {growth.axis: growth.by_size() for growth in found},
    )
    plot(found, PAGE.parent / FIGURE if args.docs else args.output / "growth.svg")
    if args.docs:
        fill("growth", f"![Time and memory against five sizes]({FIGURE})\n\n{text}")


if __name__ == "__main__":
    main()
