"""``layalign compare``: train and evaluate methods side by side."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from layalign.cli.output import print_json, progress, results
from layalign.cli.parser import add_overrides, comma_list, comma_numbers, positive, whole


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    help_ = "train and evaluate methods with the same data, budget and seeds: one table with tests"
    parser = subparsers.add_parser(
        "compare",
        help=help_,
        description=f"{help_}. What an earlier call with the same output has finished is kept, and "
        "what it has begun goes on.",
    )
    parser.add_argument(
        "recipes",
        metavar="RECIPE",
        nargs="+",
        help="YAML file of LayAlign, or the name of a shipped one",
    )
    parser.add_argument(
        "--methods",
        type=comma_list,
        required=True,
        metavar="NAMES",
        help="such as base,mindmerger,layalign; see docs/methods.md",
    )
    parser.add_argument(
        "--seeds",
        type=comma_numbers,
        default=(1, 2, 3),
        metavar="NUMBERS",
        help="one run of every method for each (default: 1,2,3)",
    )
    parser.add_argument(
        "--equal",
        choices=("examples", "time", "flops"),
        help="what every method gets as much of (default: the recipe's, else examples)",
    )
    parser.add_argument(
        "--budget",
        type=positive,
        metavar="X",
        help="how much of it: examples, minutes or operations in all stages after the fine-tune "
        "(default: the recipe's)",
    )
    add_overrides(parser, "override a key of the recipe for all runs; may be repeated")
    parser.add_argument(
        "--output",
        metavar="DIR",
        help="where runs and tables go (default: runs/comparison/ and the recipe's name)",
    )
    parser.add_argument(
        "--jobs",
        type=whole,
        default=1,
        metavar="N",
        help="runs at a time, which share the processor cores (default: 1)",
    )
    parser.add_argument("--json", action="store_true", help="print the tables as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from layalign.comparison import compare_methods, grid_bars
    from layalign.comparison.export import print_table
    from layalign.train.stopping import stop_on_signals

    chosen = {"equal": args.equal, "budget": args.budget}
    overrides = [f"comparison.{key}={value}" for key, value in chosen.items() if value is not None]
    with stop_on_signals(), progress(grid_bars, quiet=args.quiet) as report:
        found = compare_methods(
            args.recipes,
            methods=args.methods,
            seeds=args.seeds,
            overrides=[*args.set, *overrides],
            output=args.output,
            jobs=args.jobs,
            progress=report,
        )
    tables = [one.table for one in found if one.table is not None]
    if args.json:
        print_json(tables)
    else:
        for table in tables:
            print_table(results(), table)
        for one in found:
            print(f"comparison: {one.folder}")
    failures = {name: why for one in found for name, why in one.failures.items()}
    for name, why in failures.items():
        print(f"layalign: error: {name}: {why}", file=sys.stderr)
    return 1 if failures else 0
