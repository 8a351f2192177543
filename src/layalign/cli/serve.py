"""``layalign serve``: answer requests of OpenAI's clients."""

from __future__ import annotations

import argparse
import os
from typing import Any

from layalign.cli.parser import add_dtype, positive, whole

KEY = "LAYALIGN_API_KEY"


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    help_ = "answer requests over HTTP, as OpenAI's clients send them"
    parser = subparsers.add_parser("serve", help=help_, description=help_)
    parser.add_argument(
        "checkpoint",
        metavar="CHECKPOINT",
        help="folder, hub id or name of a checkpoint or of a plain language model",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address (default: this machine only)")
    parser.add_argument(
        "--port", type=whole, default=8000, metavar="N", help="port (default: 8000)"
    )
    parser.add_argument(
        "--name", help="what clients call the model (default: the checkpoint's own name)"
    )
    parser.add_argument(
        "--api-key",
        metavar="KEY",
        help=f"what clients have to show; better in the variable {KEY}, which nobody else sees",
    )
    parser.add_argument(
        "--allow-anyone", action="store_true", help="listen to other machines without a key"
    )
    add_dtype(parser)
    group = parser.add_argument_group("how much is done at once")
    for option, default, help_ in (
        ("--max-running", 32, "answers written at the same time"),
        ("--max-waiting", 128, "requests that may wait; more are turned away"),
        ("--max-new-tokens", 512, "longest answer, tokens"),
        ("--max-prompt-tokens", 4096, "longest prompt, tokens"),
    ):
        group.add_argument(
            option, type=whole, default=default, metavar="N", help=f"{help_} (default: {default})"
        )
    for option, seconds, help_ in (
        ("--timeout", 300.0, "longest time for an answer"),
        ("--drain", 30.0, "time that answers under way have when the server is stopped"),
    ):
        group.add_argument(
            option,
            type=positive,
            default=seconds,
            metavar="SECONDS",
            help=f"{help_} (default: {seconds:g})",
        )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from layalign.serve.engine import Limits
    from layalign.serve.server import serve

    names = ("max_running", "max_waiting", "max_new_tokens", "max_prompt_tokens", "timeout")
    serve(
        args.checkpoint,
        host=args.host,
        port=args.port,
        name=args.name,
        dtype=args.dtype,
        api_key=args.api_key or os.environ.get(KEY) or None,
        allow_anyone=args.allow_anyone,
        limits=Limits(**{name: getattr(args, name) for name in names}),
        drain=args.drain,
    )
    return 0
