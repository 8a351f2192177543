"""``layalign inspect``: say what a checkpoint holds."""

from __future__ import annotations

import argparse
from typing import Any

from layalign.cli.output import print_json


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    help_ = "say what a checkpoint holds"
    parser = subparsers.add_parser("inspect", help=help_, description=help_)
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="folder, hub id or a shipped one")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from layalign.model.checkpoint import describe

    summary = describe(args.checkpoint)
    if args.json:
        print_json(summary)
    else:
        for name, value in summary.items():
            print(f"{name.replace('_', ' ')}: {_text(value)}")
    return 0


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(entry)}" for name, entry in value.items())
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return " ".join(map(_text, value))
    return f"{value:,}" if isinstance(value, int) else str(value)
