"""``layalign report``: one HTML page about runs, evaluations and comparisons."""

from __future__ import annotations

import argparse
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    help_ = "write one HTML page about runs, evaluations and comparisons"
    parser = subparsers.add_parser("report", help=help_, description=help_)
    parser.add_argument(
        "folders",
        metavar="RUN_DIR",
        nargs="+",
        help="folder of a run, of an evaluation (evaluate --output) or of a comparison",
    )
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="where the page goes (default: report.html in the first folder); only an earlier "
        "report is replaced",
    )
    parser.add_argument(
        "--title",
        metavar="TEXT",
        help="heading of the page (default: layalign report)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from layalign.report import write_report

    path = write_report(args.folders, output=args.output, title=args.title)
    print(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")
    return 0
