"""``layalign evaluate``: measure a checkpoint and the bare language model beside it."""

from __future__ import annotations

import argparse
from typing import Any

from layalign.cli.output import print_json, progress, results
from layalign.cli.parser import comma_list, whole

METRICS = ("number", "choice", "exact")


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    help_ = "measure a checkpoint beside its bare language model"
    parser = subparsers.add_parser("evaluate", help=help_, description=help_)
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="folder or hub id")
    parser.add_argument(
        "--data",
        default="word_problems",
        metavar="FILE",
        help="JSON lines file, or word_problems, the shipped set (default)",
    )
    parser.add_argument("--split", default="test", help="of the shipped set (default: test)")
    parser.add_argument(
        "--languages", type=comma_list, metavar="TAGS", help="such as sw,th; all by default"
    )
    parser.add_argument("--limit", type=whole, metavar="N", help="at most N items a language")
    parser.add_argument(
        "--batch-size", type=whole, default=32, metavar="N", help="items at a time (default: 32)"
    )
    parser.add_argument(
        "--metric", choices=METRICS, default="number", help="what is compared (default: number)"
    )
    parser.add_argument(
        "--max-new-tokens",
        type=whole,
        default=256,
        metavar="N",
        help="longest answer (default: 256)",
    )
    parser.add_argument(
        "--base",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="measure the bare language model too (default)",
    )
    parser.add_argument("--output", metavar="FILE", help="write everything to this JSON file")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from layalign.eval import evaluate_checkpoint
    from layalign.eval.report import print_comparison, progress_bar

    with progress(progress_bar, quiet=args.quiet) as report:
        summary = evaluate_checkpoint(
            args.checkpoint,
            data=args.data,
            split=args.split,
            languages=args.languages,
            limit=args.limit,
            batch_size=args.batch_size,
            metric=args.metric,
            max_new_tokens=args.max_new_tokens,
            base=args.base,
            output=args.output,
            progress=report,
        )
    if args.json:
        print_json(summary)
    else:
        print_comparison(results(), summary)
    return 0
