"""``layalign generate``: answer texts with a checkpoint."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from layalign.cli.output import print_json, progress
from layalign.cli.parser import add_dtype, positive, refuse_options, whole

_FILE_ONLY = ("output", "text_column", "language_column", "output_column")


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    help_ = "answer texts in any language"
    parser = subparsers.add_parser("generate", help=help_, description=help_)
    add_answers(parser)
    texts = parser.add_argument(
        "texts", metavar="TEXT", nargs="+", help="what to answer; - reads one text a line"
    )
    texts.required = False  # with --input; as nargs="*" it would refuse options before it
    parser.add_argument("--num-beams", type=whole, default=1, metavar="N", help="beam search")
    parser.add_argument(
        "--base", action="store_true", help="let the bare language model answer too"
    )
    parser.add_argument(
        "--batch-size", type=whole, default=8, metavar="N", help="texts at a time (default: 8)"
    )
    parser.add_argument("--stream", action="store_true", help="print while it is generated")
    parser.add_argument("--json", action="store_true", help="print the answers as JSON")
    _add_file(parser.add_argument_group("a file of texts"))
    parser.set_defaults(run=run)


def add_answers(parser: argparse.ArgumentParser) -> None:
    """Add what answers, and how; of every command that lets a checkpoint answer freely."""
    parser.add_argument(
        "checkpoint",
        metavar="CHECKPOINT",
        help="folder, hub id or name of a checkpoint or of a plain language model",
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
    add_dtype(parser)


def _add_file(group: Any) -> None:
    group.add_argument(
        "--input", metavar="FILE", help="answer every row: JSON lines, JSON, CSV, TSV or Parquet"
    )
    group.add_argument(
        "--output",
        metavar="FILE",
        help="JSON lines with the answers; an interrupted command goes on when it is run again",
    )
    for name, what in (
        ("text", "what is answered"),
        ("language", "its language; need not be there"),
        ("output", "the answer, in --output"),
    ):
        group.add_argument(
            f"--{name}-column", metavar="NAME", help=f"holds {what} (default: {name})"
        )


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    if args.input is not None:
        return _run_file(args)
    refuse_options(args, _FILE_ONLY, "needs --input")
    if not args.texts:
        args.parser.error("there is no TEXT to answer, and no --input")
    if args.stream and args.json:
        args.parser.error("--stream and --json exclude each other")
    from layalign.generation import generate

    answers = generate(
        args.checkpoint,
        _lines() if args.texts == ["-"] else args.texts,
        **_options(args),
        stream=write if args.stream else None,
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


def _run_file(args: argparse.Namespace) -> int:
    if args.texts:
        args.parser.error("a TEXT does not go with --input")
    refuse_options(args, ("stream", "json"), "does not go with --input")
    if args.output is None:
        args.parser.error("--input needs --output")
    from layalign.eval.report import progress_bar
    from layalign.generation import generate_file
    from layalign.generation.files import Columns

    names = {name: getattr(args, f"{name}_column") for name in ("text", "language", "output")}
    with progress(progress_bar, quiet=args.quiet) as report:
        rows = generate_file(
            args.checkpoint,
            args.input,
            args.output,
            columns=Columns(**{name: value for name, value in names.items() if value is not None}),
            **_options(args),
            progress=report,
        )
    print(f"{args.output}: {rows} answered")
    return 0


def _options(args: argparse.Namespace) -> dict[str, Any]:
    names = (
        *("language", "max_new_tokens", "temperature", "num_beams", "base", "batch_size"),
        "dtype",
    )
    return {name: getattr(args, name) for name in names}


def write(text: str) -> None:
    """Print a piece of an answer at once."""
    print(text, end="", flush=True)


def _show(answer: dict[str, str]) -> None:
    if "bare" in answer:
        print(f"LayAlign: {answer['answer']}\nbare LLM: {answer['bare']}")
    else:
        print(answer["answer"])
