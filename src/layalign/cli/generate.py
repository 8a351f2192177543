"""``layalign generate``: answer texts with a checkpoint."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from layalign.cli.output import print_json
from layalign.cli.parser import positive, whole


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    help_ = "answer texts in any language"
    parser = subparsers.add_parser("generate", help=help_, description=help_)
    parser.add_argument(
        "checkpoint",
        metavar="CHECKPOINT",
        help="folder, hub id or name of a checkpoint or of a plain language model",
    )
    parser.add_argument(
        "texts", metavar="TEXT", nargs="+", help="what to answer; - reads one text a line"
    )
    parser.add_argument(
        "--language", metavar="TAG", help="of the texts; only encoders such as NLLB's need it"
    )
    parser.add_argument(
        "--max-new-tokens",
        type=whole,
        default=256,
        metavar="N",
        help="longest answer (default: 256)",
    )
    parser.add_argument(
        "--temperature", type=positive, metavar="T", help="sample; the likeliest token by default"
    )
    parser.add_argument("--num-beams", type=whole, default=1, metavar="N", help="beam search")
    parser.add_argument(
        "--base", action="store_true", help="let the bare language model answer too"
    )
    parser.add_argument("--stream", action="store_true", help="print while it is generated")
    parser.add_argument("--json", action="store_true", help="print the answers as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    if args.stream and args.json:
        args.parser.error("--stream and --json exclude each other")
    from layalign.generation import generate

    answers = generate(
        args.checkpoint,
        _lines() if args.texts == ["-"] else args.texts,
        language=args.language,
        max_new_tokens=args.max_new_tokens,
        temperature=args.temperature,
        num_beams=args.num_beams,
        base=args.base,
        stream=_write if args.stream else None,
    )
    if args.json:
        print_json(answers)
    elif not args.stream:
        for answer in answers:
            _show(answer)
    return 0


def _lines() -> list[str]:
    from layalign.errors import DataError

    try:
        return [line.strip() for line in sys.stdin if line.strip()]
    except UnicodeDecodeError as error:
        raise DataError(f"standard input is no {error.encoding} text; write it as such") from error


def _write(text: str) -> None:
    print(text, end="", flush=True)


def _show(answer: dict[str, str]) -> None:
    if "bare" in answer:
        print(f"LayAlign: {answer['answer']}\nbare LLM: {answer['bare']}")
    else:
        print(answer["answer"])
