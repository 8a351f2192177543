"""``layalign train``: run a recipe."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from layalign.cli.output import print_json, progress, results
from layalign.cli.parser import add_overrides, comma_list

if TYPE_CHECKING:
    from layalign.train.summary import RunSummary


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    help_ = "train and evaluate what a recipe describes"
    parser = subparsers.add_parser("train", help=help_, description=help_)
    parser.add_argument("recipe", metavar="RECIPE", help="YAML file, or the name of a shipped one")
    add_overrides(
        parser,
        "override a key of the recipe, such as stage.task.lr=3e-4 or method=mindmerger; may be "
        "repeated",
    )
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted run")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="check recipe and data and show the plan only: parameters, updates, tokens, memory; "
        "needs no weights and downloads nothing",
    )
    parser.add_argument(
        "--report-to",
        type=comma_list,
        default=(),
        metavar="NAMES",
        help="send the figures of training there too, beside TensorBoard: wandb, trackio, mlflow",
    )
    parser.add_argument(
        "--detect-anomaly",
        action="store_true",
        help="find the operation whose gradient is no number; much slower",
    )
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    import torch

    from layalign.train.progress import progress_bars
    from layalign.train.recipe import load_recipe
    from layalign.train.run import run_recipe
    from layalign.train.stopping import stop_on_signals

    recipe = load_recipe(args.recipe, args.set)
    with (
        stop_on_signals() as stop,
        torch.autograd.set_detect_anomaly(args.detect_anomaly),
        progress(progress_bars, quiet=args.quiet) as report,
    ):
        summary = run_recipe(
            recipe,
            resume=args.resume,
            dry_run=args.dry_run,
            progress=report,
            stop=stop,
            report_to=args.report_to,
        )
    if args.json:
        print_json(summary.to_dict())
    else:
        _show(summary)
    return 0


def _show(summary: RunSummary) -> None:
    from layalign.eval.report import print_comparison

    if summary.dry_run:
        _show_plan(summary)
        return
    if summary.evaluation is not None:
        print_comparison(results(), summary.evaluation)
    print(f"checkpoint: {summary.checkpoint}")


def _show_plan(summary: RunSummary) -> None:
    from layalign.train.plan_report import print_plan

    for name, stage in summary.stages.items():
        examples = "unknown" if stage["examples"] is None else stage["examples"]
        updates = stage["updates"]
        if updates is None:
            updates = "unknown" if stage["examples"] is None else "as many as fit"
        print(f"{name}: {examples} examples, updates: {updates}")
    if summary.plan is not None:
        method = summary.plan["method"]
        print(f"method: {method['label']}: {method['description']}")
        print_plan(results(), summary.plan)
