"""The fault drill: harm runs in every way that occurs, and see that nothing is lost.

Each time, a run of the tiny recipe is disturbed and then resumed. It survives if it goes on, or
first refuses with one line that says why, and ends with the weights, losses and answers of an
undisturbed run, bit by bit.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import faults
from ground import Child, Ground, LostError
from scenarios import LAST, Scenario, scenarios

import layalign.train.run  # noqa: F401  (here, so that no forked process waits for it)


def prepare(root: Path) -> Ground:
    """Make the undisturbed run, and two that were killed in their last stage."""
    ground = Ground(root)
    for name, more in (("begun", ()), ("cached", (faults.examples_on_disk,))):
        out = root / name
        ground.run(out, *more, partial(faults.die_after, out / LAST))
        if not (out / LAST).is_dir():
            raise LostError(f"{name} was not killed where it should be")
    return ground


def choose(everything: Iterable[Scenario], pattern: str, each: int) -> list[Scenario]:
    """Those that a pattern is found in, of each fault the first few."""
    count = Counter[str]()
    chosen = []
    for scenario in everything:
        count[scenario.fault] += 1
        if re.search(pattern, scenario.fault) and count[scenario.fault] <= each:
            chosen.append(scenario)
    return chosen


def drill(ground: Ground, chosen: dict[int, Scenario], *, seed: int, file: Path) -> int:
    """Try numbered scenarios one after the other, and append what came of them to a file."""
    for number, scenario in chosen.items():
        out = ground.root / f"run-{number}"
        try:
            said, survived = scenario.act(ground, out, random.Random(f"{seed} {number}")), True
        except Exception as error:
            said, survived = f"{type(error).__name__}: {error}", False
        row = {"fault": scenario.fault, "survived": survived, "said": said}
        with file.open("a") as lines:
            lines.write(json.dumps(row) + "\n")
        shutil.rmtree(out, ignore_errors=True)
    return 0


def in_parallel(ground: Ground, chosen: list[Scenario], *, seed: int, workers: int) -> list[Any]:
    """Share scenarios among processes; gives what came of each, as :func:`drill` writes it."""
    file, children = ground.root / "rows.jsonl", []
    numbered = list(enumerate(chosen))
    for worker in range(workers):
        share = dict(numbered[worker::workers])
        act = partial(drill, ground, share, seed=seed, file=file)
        children.append(Child(act, ground.root / f"worker-{worker}.log"))
    for child in children:
        child.wait(3600.0)
    return [json.loads(line) for line in file.read_text().splitlines()]


def table(rows: list[Any]) -> Iterator[str]:
    """Yield the lines of a Markdown table, and what was lost."""
    yield from ("| Fault | Injected | Survived | What came of it |", "| --- | --- | --- | --- |")
    for fault in dict.fromkeys(row["fault"] for row in rows):
        these = [row for row in rows if row["fault"] == fault]
        survived = [row for row in these if row["survived"]]
        said = "; ".join(sorted({row["said"] for row in survived}))
        yield f"| {fault} | {len(these)} | {len(survived)} | {said} |"
    yield from (f"LOST: {row['fault']}: {row['said']}" for row in rows if not row["survived"])


def main() -> int:
    """Run the drill."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=30, help="times `kill -9` (default: 30)")
    parser.add_argument("--each", type=int, default=1000, help="times any fault at most")
    parser.add_argument("--only", default="", help="only faults that this pattern is found in")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments (default: 0)")
    parser.add_argument("--workers", type=int, default=2, help="runs at a time (default: 2)")
    args = parser.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="layalign-drill-") as root:
        ground = prepare(Path(root))
        chosen = choose(scenarios(ground, args.kills), args.only, args.each)
        rows = in_parallel(ground, chosen, seed=args.seed, workers=args.workers)
    order = list(dict.fromkeys(scenario.fault for scenario in chosen))
    rows.sort(key=lambda row: order.index(row["fault"]))
    for line in table(rows):
        print(line)
    survived = sum(row["survived"] for row in rows)
    lost = len(chosen) - survived  # also one whose process of its own has died
    print(f"{time.monotonic() - start:.0f} seconds, seed {args.seed}")
    print(f"injected: {len(chosen)}, survived: {survived}, lost: {lost}")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
