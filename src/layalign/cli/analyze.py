"""``layalign analyze``: the figures of the paper for a checkpoint."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from layalign.cli.data import SOURCE_OPTIONS, add_source_options, place_of
from layalign.cli.output import print_json, progress, results
from layalign.cli.parser import whole

SENTENCES = 100


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    help_ = "show what a checkpoint does to sentences and their translations, layer by layer"
    parser = subparsers.add_parser("analyze", help=help_, description=help_)
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="folder, hub id or a shipped one")
    parser.add_argument(
        "--compare",
        nargs="+",
        default=[],
        metavar="CHECKPOINT",
        help="other checkpoints or plain language models, for the similarity at the last layer",
    )
    parser.add_argument(
        "--data",
        metavar="SOURCE",
        help="sentences with English translations: a folder of files aligned with its eng.txt, a "
        "folder of .tsv files, any other source of layalign data; the shipped word problems by "
        "default",
    )
    group = parser.add_argument_group(
        "how the sentences are read", f"by default {SENTENCES} sentences a language"
    )
    add_source_options(group)
    parser.add_argument(
        "--batch-size",
        type=whole,
        default=8,
        metavar="N",
        help="sentences at a time (default: 8); halved when memory does not suffice",
    )
    parser.add_argument(
        "--output",
        metavar="DIR",
        help="new folder for numbers and figures (default: analysis/NAME-OF-CHECKPOINT)",
    )
    parser.add_argument("--json", action="store_true", help="print a summary as JSON")
    parser.set_defaults(run=run, limit=SENTENCES)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from layalign.analysis import analyze, sentence_source, write_analysis
    from layalign.analysis.summary import print_analysis, summarise
    from layalign.analysis.tables import check_output
    from layalign.eval.report import progress_bar

    folder = Path(args.output or Path("analysis") / Path(args.checkpoint).name)
    check_output(folder)
    place = {} if args.data is None else place_of(args.data)
    source = sentence_source(**place, **{name: getattr(args, name) for name in SOURCE_OPTIONS})
    with progress(progress_bar, quiet=args.quiet) as report:
        found = analyze(
            args.checkpoint,
            source=source,
            compare=args.compare,
            batch_size=args.batch_size,
            progress=report,
        )
    write_analysis(found, folder)
    if args.json:
        print_json({**summarise(found), "output": str(folder)})
    else:
        print_analysis(results(), found)
        print(f"numbers and figures: {folder}")
    return 0
