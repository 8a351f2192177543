"""``layalign convert``: a state of the LayAlign authors' code to a checkpoint, or back."""

from __future__ import annotations

import argparse
from typing import Any

from layalign.cli.parser import comma_numbers, refuse_options

FORMATS = ("layalign", "published")


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    help_ = "turn a state file of the LayAlign authors' code into a checkpoint, or back"
    parser = subparsers.add_parser("convert", help=help_, description=help_)
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="the authors' state (.bin, .pt or .safetensors, an index of shards, or the folder of "
        "one); with --to published a checkpoint of layalign",
    )
    parser.add_argument(
        "--to", choices=FORMATS, default="layalign", help="what to write (default: layalign)"
    )
    parser.add_argument(
        "--encoder", metavar="MODEL", help="the encoder it was trained with, folder or hub id"
    )
    parser.add_argument(
        "--llm", metavar="MODEL", help="the language model it was trained with, folder or hub id"
    )
    parser.add_argument(
        "--encoder-layers",
        type=comma_numbers,
        metavar="NUMBERS",
        help="encoder states that the state mixes, such as 1,3 (default: all but the last)",
    )
    parser.add_argument(
        "--output",
        required=True,
        metavar="PATH",
        help="folder of the checkpoint; with --to published the file, .safetensors, .bin or .pt",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    if args.to == "published":
        options = ("encoder", "llm", "encoder_layers")
        refuse_options(args, options, "does not apply to --to published")
        from layalign.model.published import to_published

        to_published(args.source, args.output)
    else:
        for name in ("encoder", "llm"):
            if getattr(args, name) is None:
                args.parser.error(f"--{name} is needed: what the state was trained with")
        from layalign.model.published import from_published

        chosen = {} if args.encoder_layers is None else {"encoder_layers": args.encoder_layers}
        from_published(
            args.source,
            args.output,
            encoder=args.encoder,
            language_model=args.llm,
            **chosen,
        )
    print(args.output)
    return 0
