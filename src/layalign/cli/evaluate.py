"""``layalign evaluate``: measure a checkpoint beside its bare language model, or a plain one."""

from __future__ import annotations

import argparse
from typing import Any

from layalign.cli.output import print_json, progress, results
from layalign.cli.parser import add_overrides, add_selection, comma_list, refuse_options, whole

METRICS = ("number", "choice", "exact", "translation")
SCORINGS = ("generate", "loglikelihood")
_HARNESS_ONLY = ("include", "encoder_field", "encoder_template", "language")
_NATIVE_ONLY = (
    *("data", "split", "languages", "template", "set", "scoring", "max_new_tokens"),
    *("prompt_template", "resume"),
)


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    help_ = "measure a checkpoint beside its bare language model, or a plain language model"
    parser = subparsers.add_parser("evaluate", help=help_, description=help_)
    parser.add_argument(
        "checkpoint",
        metavar="CHECKPOINT",
        help="folder, hub id or name of a checkpoint or of a plain language model",
    )
    _add_data(parser.add_argument_group("what is asked"))
    _add_answers(parser.add_argument_group("how it is answered"))
    _add_harness(parser.add_argument_group("with lm-eval"))
    parser.add_argument(
        "--output",
        metavar="PATH",
        help="write everything to this .json file, or to this folder, from which a killed "
        "evaluation can be resumed",
    )
    parser.add_argument("--resume", action="store_true", help="go on with what --output holds")
    parser.add_argument(
        "--json", action="store_true", help="print the results as JSON, and the tables to stderr"
    )
    parser.set_defaults(run=run)


def _add_data(group: Any) -> None:
    group.add_argument(
        "--tasks",
        type=comma_list,
        metavar="NAMES",
        help="such as mgsm,xcopa, or paths of YAML files; without it --data is asked as it is",
    )
    group.add_argument(
        "--data",
        metavar="PATH",
        help="with --tasks, the folder that holds one subfolder for each; without, a JSON lines "
        "file or word_problems, the shipped set (default)",
    )
    group.add_argument("--split", help="in place of the tasks' own (shipped set: test)")
    add_selection(group)
    group.add_argument("--template", metavar="NAME", help="of the tasks, in place of their first")
    add_overrides(group, "change a setting of the tasks, such as normalise=tokens")
    group.add_argument(
        "--metric",
        choices=METRICS,
        default="number",
        help="what is compared without --tasks (default: number)",
    )
    group.add_argument(
        "--prompt-template",
        metavar="TEXT",
        help="without --tasks, what the bare or plain language model reads, with {question}",
    )


def _add_answers(group: Any) -> None:
    group.add_argument(
        "--scoring",
        choices=SCORINGS,
        help="of tasks with choices: generate an answer, or take the likeliest choice",
    )
    group.add_argument(
        "--batch-size",
        type=whole,
        default=32,
        metavar="N",
        help="items at a time (default: 32); halved when memory does not suffice",
    )
    group.add_argument(
        "--max-new-tokens",
        type=whole,
        metavar="N",
        help="longest answer (default: the tasks' own; without tasks 256)",
    )
    group.add_argument(
        "--base",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="measure the bare language model inside a checkpoint too (default)",
    )


def _add_harness(group: Any) -> None:
    group.add_argument(
        "--harness", action="store_true", help="let lm-eval run its tasks of --tasks"
    )
    group.add_argument("--include", metavar="DIR", help="folder with further task files of lm-eval")
    encoder = group.add_mutually_exclusive_group()
    encoder.add_argument(
        "--encoder-field",
        metavar="NAME",
        help="field of lm-eval's documents that the encoder reads; the prompt by default",
    )
    encoder.add_argument(
        "--encoder-template",
        metavar="TEXT",
        help="the same as a template, such as '{premise} {hypothesis}'",
    )
    group.add_argument(
        "--language",
        metavar="TAG",
        help="of what the encoder reads; only encoders such as NLLB's need it",
    )


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    _check(args)
    return _run_harness(args) if args.harness else _run_native(args)


def _check(args: argparse.Namespace) -> None:
    if args.harness and args.tasks is None:
        args.parser.error("--harness needs --tasks, names of lm-eval's tasks")
    if args.harness:
        refuse_options(args, _NATIVE_ONLY, "does not apply to --harness")
    else:
        refuse_options(args, _HARNESS_ONLY, "needs --harness")
    if not args.tasks:
        refuse_options(args, ("template", "set", "scoring"), "needs --tasks")


def _run_native(args: argparse.Namespace) -> int:
    from layalign.eval import evaluate_checkpoint
    from layalign.eval.report import print_comparison, print_tasks, progress_bar

    with progress(progress_bar, quiet=args.quiet) as report:
        summary = evaluate_checkpoint(
            args.checkpoint,
            tasks=args.tasks,
            data=args.data,
            split=args.split,
            languages=args.languages,
            limit=args.limit,
            batch_size=args.batch_size,
            metric=args.metric,
            max_new_tokens=args.max_new_tokens,
            scoring=args.scoring,
            template=args.template,
            overrides=args.set,
            base=args.base,
            base_prompt_template=args.prompt_template,
            output=args.output,
            resume=args.resume,
            progress=report,
        )
    if args.json:
        print_json(summary)
    if not (args.json and args.quiet):
        console = results(beside_json=args.json)
        if args.tasks:
            print_tasks(console, summary["tasks"])
        else:
            print_comparison(console, summary)
    return 0


def _run_harness(args: argparse.Namespace) -> int:
    from layalign.eval.harness import evaluate_with_harness, harness_table

    summary = evaluate_with_harness(
        args.checkpoint,
        args.tasks,
        include=args.include,
        encoder_field=args.encoder_field,
        encoder_template=args.encoder_template,
        language=args.language,
        batch_size=args.batch_size,
        limit=args.limit,
        output=args.output,
    )
    if args.json:
        print_json(summary)
    else:
        print(harness_table(summary))
    return 0
