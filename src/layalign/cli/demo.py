"""``layalign demo``: a page on this machine to try a checkpoint on."""

from __future__ import annotations

import argparse
from typing import Any

from layalign.cli.parser import add_dtype, whole


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    help_ = "open a page on this machine to try a checkpoint on, beside its bare language model"
    parser = subparsers.add_parser("demo", help=help_, description=help_)
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="folder, hub id or a shipped one")
    parser.add_argument(
        "--port", type=whole, default=8000, metavar="N", help="port (default: 8000)"
    )
    add_dtype(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from layalign.serve.server import serve

    serve(args.checkpoint, port=args.port, dtype=args.dtype, page=True)
    return 0
