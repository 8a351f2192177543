"""``layalign status``: say how a run is."""

from __future__ import annotations

import argparse
from typing import Any

from layalign.cli.output import print_json, printable


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    help_ = "say how a run is, from what it has left on disk"
    parser = subparsers.add_parser("status", help=help_, description=help_)
    parser.add_argument("folder", metavar="RUN_DIR", help="output_dir of the run")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from layalign.train.status import read_status

    values = read_status(args.folder).to_dict()
    if args.json:
        print_json(values)
        return 0
    for name, value in values.items():
        if value not in (None, []):
            print(f"{name.replace('_', ' '):<13} {printable(_text(name, value))}")
    return 0


def _text(name: str, value: Any) -> str:
    if name == "fraction":
        return f"{100 * value:.0f} %"
    if name in ("seconds", "seconds_left", "heard"):
        return _duration(value) + (" ago" if name == "heard" else "")
    if isinstance(value, list):
        return "; ".join(value)
    return f"{value:,}" if isinstance(value, int) else _number(value)


def _number(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
