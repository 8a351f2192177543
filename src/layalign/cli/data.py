"""``layalign data``: what sources hold, and what cleaning would drop."""

from __future__ import annotations

import argparse
import dataclasses
from functools import partial
from typing import TYPE_CHECKING, Any

from layalign.cli.output import print_json, progress, results
from layalign.cli.parser import (
    add_overrides,
    add_selection,
    comma_list,
    comma_numbers,
    refuse_options,
)

if TYPE_CHECKING:
    from layalign.data import DataSource


SOURCE_OPTIONS = (
    *("format", "split", "language", "languages", "codes", "columns"),
    *("target_path", "target", "subset", "revision", "limit"),
)
_HUB = "hub:"


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    help_ = "show what data sources hold, and check them"
    parser = subparsers.add_parser("data", help=help_, description=help_)
    parser.add_argument(
        "action",
        choices=("stats", "check"),
        help="stats: examples and lengths by language, as training would read them; "
        "check: the same with the checks of cleaning, what they drop and why",
    )
    parser.add_argument(
        "sources",
        metavar="SOURCE",
        nargs="*",
        help="file, folder, hub:ID of a data set of the Hugging Face Hub, or word_problems, the "
        "shipped set",
    )
    parser.add_argument("--recipe", metavar="RECIPE", help="take all sources of this one instead")
    add_source_options(parser.add_argument_group("how the sources are read"))
    parser.add_argument(
        "--encoder", metavar="MODEL", help="count texts in tokens of this one, not characters"
    )
    parser.add_argument("--llm", metavar="MODEL", help="the same for targets")
    add_overrides(parser, "change a setting of check, such as max_length=512; may be repeated")
    parser.add_argument(
        "--strict", action="store_true", help="make the first row that cannot be read an error"
    )
    parser.add_argument("--output", metavar="FILE", help="write everything to this .json file too")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.set_defaults(run=run)


def add_source_options(group: Any) -> None:
    """Add how a source is read; the names of the options are :data:`SOURCE_OPTIONS`."""
    group.add_argument("--format", help="by the file's ending if it is not given")
    group.add_argument(
        "--split", help="of the shipped set or a hub set, or in the names of a folder's files"
    )
    group.add_argument("--language", metavar="TAG", help="BCP-47 tag of whole files, such as sw")
    group.add_argument(
        "--codes", type=_pairs, metavar="NAME=TAG,…", help="the tag of each name that is none"
    )
    group.add_argument(
        "--columns",
        type=_columns,
        metavar="FIELD=COLUMN,…",
        help="such as text=question; in bitext two numbers from 0, such as 0,2",
    )
    group.add_argument("--target-path", metavar="FILE", help="English file of bitext_files")
    group.add_argument("--target", help="of the shipped set: english or reasoning")
    group.add_argument("--subset", help="configuration of a hub set, if it has several")
    group.add_argument("--revision", help="branch, tag or commit of a hub set")
    add_selection(group)


def _pairs(text: str) -> dict[str, str]:
    pairs = [word.partition("=") for word in comma_list(text)]
    if not all(name and value for name, _, value in pairs):
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE with commas between, got {text!r}")
    return {name: value for name, _, value in pairs}


def _columns(text: str) -> dict[str, str] | tuple[int, ...]:
    return _pairs(text) if "=" in text else comma_numbers(text)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from layalign.data import print_survey, survey
    from layalign.data.survey import survey_bar

    _check(args)
    found = []
    for used_for, source in _sources(args):
        applied = source.clean is not None
        if args.action == "check" and not applied:
            source = dataclasses.replace(source, clean=_cleaning(args))
        with progress(partial(survey_bar, label=source.label), quiet=args.quiet) as report:
            figures = survey(
                source,
                strict=args.strict,
                encoder=args.encoder,
                llm=args.llm,
                progress=report,
            )
        found.append({"used_for": used_for, "applied": applied, **figures})
        if not args.json:
            print_survey(results(), figures)
            if figures["first"] and not applied:
                print("Reading the source drops none of these yet: clean in a recipe does.")
    if args.json:
        print_json({"sources": found})
    if args.output is not None:
        from layalign.eval.report import write_json

        write_json(args.output, {"sources": found})
    return 0


def _check(args: argparse.Namespace) -> None:
    if bool(args.sources) == (args.recipe is not None):
        args.parser.error("expected either sources or --recipe FILE")
    if args.recipe:
        refuse_options(args, SOURCE_OPTIONS, "does not apply to --recipe")
    if args.action == "stats":
        refuse_options(args, ("set",), "changes checks; use it with check")


def _sources(args: argparse.Namespace) -> list[tuple[str | None, DataSource]]:
    """The sources, each with what a recipe uses it for."""
    from layalign.data import DataSource

    if args.recipe is not None:
        from layalign.train.recipe import load_recipe

        sources = load_recipe(args.recipe).data.sources()
        return [(f"{stage}.{part}", source) for stage, part, source in sources]
    values = {name: getattr(args, name) for name in SOURCE_OPTIONS}
    return [(None, DataSource(**place_of(text), **values)) for text in args.sources]


def place_of(text: str) -> dict[str, Any]:
    """Which of its three places a source is."""
    from layalign.data.sources import NAMES

    if text.startswith(_HUB):
        return {"hub": text.removeprefix(_HUB)}
    return {"name" if text in NAMES else "path": text}


def _cleaning(args: argparse.Namespace) -> Any:
    from layalign.data import Cleaning
    from layalign.fields import from_mapping
    from layalign.yaml_files import apply_override

    values: dict[str, Any] = {}
    for override in args.set:
        apply_override(values, override)
    return from_mapping(Cleaning, {"encoder": args.encoder, "llm": args.llm, **values}, "clean")
