"""``layalign bench``: time and memory beside the language model alone."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from layalign.cli.output import print_json, results
from layalign.cli.parser import comma_list, refuse_options, whole

if TYPE_CHECKING:
    from layalign.bench import Setup

_ONLY = {
    "generate": ("checkpoint", "target_length"),
    "train": ("checkpoint", "new_tokens"),
    "load": ("batch", "new_tokens", "no_published", *("encoder_length", "prompt_length")),
}


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    help_ = "measure time and memory beside the language model alone"
    parser = subparsers.add_parser("bench", help=help_, description=help_)
    parser.add_argument(
        "action",
        choices=("generate", "train", "load"),
        help="generate: greedy generation of a fixed length; train: a training step of both "
        "stages; load: read the weights from disk",
    )
    _add_backbones(parser.add_argument_group("what is measured"))
    _add_work(parser.add_argument_group("what it is given"))
    parser.add_argument(
        "--repeats", type=whole, default=5, metavar="N", help="timed rounds (default and least: 5)"
    )
    parser.add_argument("--output", metavar="FILE", help="write everything to this .json file too")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.set_defaults(run=run)


def _add_backbones(group: Any) -> None:
    group.add_argument("--encoder", metavar="MODEL", help="folder, hub id or embedded model")
    group.add_argument("--llm", metavar="MODEL", help="the same of the language model")
    group.add_argument(
        "--random-weights",
        action="store_true",
        help="take only the sizes of both; then a model may also be a configuration file, or "
        "numbers such as llama:layers=8,width=512,heads=8,kv_heads=4,vocab=32000",
    )
    group.add_argument(
        "--checkpoint", metavar="CHECKPOINT", help="load: this one with its own backbones"
    )
    group.add_argument(
        "--dtype",
        choices=("float32", "bfloat16", "float16"),
        help="arithmetic of the backbones (default: bfloat16 on a GPU, else float32)",
    )
    group.add_argument(
        "--device", metavar="NAME", help="cpu, cuda, cuda:1 … (default: a GPU if there is one)"
    )


def _add_work(group: Any) -> None:
    group.add_argument(
        "--batch", type=_sizes, metavar="N,…", help="examples at a time (default: 1,8,32; train: 8)"
    )
    group.add_argument(
        "--new-tokens", type=_sizes, metavar="N,…", help="tokens to generate (default: 64,256)"
    )
    for name in ("encoder", "prompt", "target"):
        group.add_argument(
            f"--{name}-length", type=whole, metavar="N", help=f"{name} tokens (default: 64)"
        )
    group.add_argument(
        "--no-published", action="store_true", help="leave out the published computation"
    )


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(map(whole, comma_list(text)))


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    _check(args)
    from layalign.bench.report import print_bench

    found = _measure(args)
    if args.output is not None:
        from layalign.eval.report import write_json

        write_json(args.output, found)
    if args.json:
        print_json(found)
    else:
        print_bench(results(), found)
    return 0


def _check(args: argparse.Namespace) -> None:
    refuse_options(args, _ONLY[args.action], f"does not apply to bench {args.action}")
    if args.checkpoint is not None:
        refuse_options(args, ("encoder", "llm", "random_weights"), "excludes --checkpoint")
    elif args.encoder is None or args.llm is None:
        args.parser.error("--encoder and --llm are needed")


def _measure(args: argparse.Namespace) -> dict[str, Any]:
    import dataclasses

    from layalign.bench import bench_generation, bench_loading, bench_training
    from layalign.bench.setup import LENGTHS

    common: dict[str, Any] = {"repeats": args.repeats}
    if not args.quiet:
        common["progress"] = lambda what: print(what, file=sys.stderr)
    setup = _setup(args)
    if args.action == "load":
        return bench_loading(setup, checkpoint=args.checkpoint, **common)
    given = {name: getattr(args, f"{name}_length") for name in ("encoder", "prompt", "target")}
    lengths = {name: length for name, length in given.items() if length is not None}
    common |= {
        "lengths": dataclasses.replace(LENGTHS, **lengths),
        "published": not args.no_published,
        **({} if args.batch is None else {"batches": args.batch}),
    }
    if args.action == "train":
        return bench_training(setup, **common)
    counts = {} if args.new_tokens is None else {"new_tokens": args.new_tokens}
    return bench_generation(setup, **counts, **common)


def _setup(args: argparse.Namespace) -> Setup:
    from layalign.bench import Setup, checkpoint_setup
    from layalign.bench.setup import usual_device, usual_dtype

    device = args.device or usual_device()
    fields: dict[str, Any] = {"device": device, "dtype": args.dtype or usual_dtype(device)}
    if args.checkpoint is not None:
        return checkpoint_setup(args.checkpoint, **fields)
    return Setup(encoder=args.encoder, llm=args.llm, random_weights=args.random_weights, **fields)
