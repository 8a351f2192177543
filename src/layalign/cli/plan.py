"""``layalign plan``: what a training would take on GPUs that are not here."""

from __future__ import annotations

import argparse
import json
import re
from typing import Any

from layalign.cli.output import print_json, results
from layalign.cli.parser import add_overrides, positive, whole

CPU = "cpu"
_LENGTHS = re.compile(r"(?P<stage>\w+)=(?P<lengths>[\d.]+\+[\d.]+\+[\d.]+)")


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    help_ = "estimate memory, hours and cost of a training on other devices"
    parser = subparsers.add_parser(
        "plan",
        help=help_,
        description=f"{help_}, under every way of sharing it among them, from sizes alone: no "
        "weights, no GPU, no network.",
    )
    parser.add_argument(
        "--recipe",
        default="paper_math",
        metavar="RECIPE",
        help="YAML file, or the name of one that comes with the library (default: paper_math)",
    )
    for option, role in (("--encoder", "encoder"), ("--llm", "language model")):
        parser.add_argument(
            option,
            metavar="MODEL",
            help=f"{role} in place of the recipe's: a folder with config.json, the file itself, a "
            "known or cached hub id, or numbers such as llama:layers=8,width=512,heads=8",
        )
    add_overrides(parser, "override a key of the recipe; may be repeated")
    parser.add_argument(
        "--gpu",
        default="l40-48gb",
        metavar="NAME",
        help="kind of device, or cpu for this machine's processor, which is measured (default: "
        "l40-48gb)",
    )
    parser.add_argument("--gpus", type=whole, default=8, metavar="N", help="how many (default: 8)")
    parser.add_argument(
        "--mean",
        type=_mean,
        action="append",
        default=[],
        metavar="STAGE=E+P+T",
        help="mean tokens of an example in encoder, prompt and target, such as "
        "translation=40+0+40; without it those of the data, else the longest allowed",
    )
    _add_assumptions(parser)
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.set_defaults(run=run)


def _add_assumptions(parser: Any) -> None:
    parser.add_argument(
        "--utilisation",
        type=positive,
        default=0.6,
        metavar="SHARE",
        help="share of a device's peak that large matrix products reach (default: 0.6)",
    )
    parser.add_argument(
        "--interconnect",
        type=positive,
        metavar="GB/S",
        help="between devices, in one direction (default: the data sheet's)",
    )
    parser.add_argument(
        "--price",
        type=positive,
        default=1.0,
        metavar="X",
        help="of a device for an hour, in any currency (default: 1)",
    )


def _mean(text: str) -> tuple[str, tuple[float, float, float]]:
    match = _LENGTHS.fullmatch(text)
    try:
        encoder, prompt, target = map(float, match["lengths"].split("+") if match else ())
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected a stage and three numbers like task=80+150+150, got {text!r}"
        ) from None
    assert match is not None
    return match["stage"], (encoder, prompt, target)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    import dataclasses

    from layalign.planning import Setup, find_device, plan_training
    from layalign.planning.machine import measured_cpu
    from layalign.planning.table import print_training_plan
    from layalign.train.recipe import load_recipe

    device = measured_cpu() if args.gpu == CPU else find_device(args.gpu)
    if args.interconnect is not None:
        device = dataclasses.replace(device, interconnect=args.interconnect * 1e9)
    setup = Setup(device=device, devices=args.gpus, utilisation=args.utilisation, price=args.price)
    chosen = {"encoder": args.encoder, "language_model": args.llm}
    backbones = [f"model.{key}={json.dumps(value)}" for key, value in chosen.items() if value]
    recipe = load_recipe(args.recipe, [*args.set, *backbones])
    plan = plan_training(recipe, setup, means=dict(args.mean))
    if args.json:
        print_json(plan)
    else:
        print_training_plan(results(), plan)
    return 0
