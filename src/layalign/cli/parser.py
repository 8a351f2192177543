"""An argument parser whose errors are one line with the nearest valid word, and its types."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from layalign.errors import nearest

DTYPES = ("bfloat16", "float32")
_INVALID_CHOICE = re.compile(r"invalid choice: '?(?P<found>[^' ]+)'? \(choose from (?P<known>.+)\)")


class Parser(argparse.ArgumentParser):
    """An ``ArgumentParser`` that takes no abbreviations and suggests what was meant."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        """Take what ``ArgumentParser`` takes."""
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        """Leave with status 2 and one line."""
        choice = _INVALID_CHOICE.search(message)
        if choice is not None:
            message += nearest(choice["found"], re.findall(r"[\w.-]+", choice["known"]))
        self.exit(2, f"layalign: error: {message} (see {self.prog} --help)\n")

    def refuse(self, unknown: Sequence[str]) -> NoReturn:
        """Leave because of arguments that no option or position takes."""
        options = re.findall(r"--[\w-]+", self.format_help())
        first = unknown[0].split("=")[0]
        what = "option" if first.startswith("-") else "argument"
        self.error(f"unknown {what} {first!r}" + nearest(first, options))


def whole(text: str) -> int:
    """Read a whole number of at least 1."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)


def positive(text: str) -> float:
    """Read a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return value


def comma_list(text: str) -> tuple[str, ...]:
    """Read words separated by commas."""
    words = tuple(word.strip() for word in text.split(",") if word.strip())
    if not words:
        raise argparse.ArgumentTypeError(f"expected words separated by commas, got {text!r}")
    return words


def comma_numbers(text: str) -> tuple[int, ...]:
    """Read whole numbers from 0 up, separated by commas."""
    words = comma_list(text)
    if not all(word.isascii() and word.isdigit() for word in words):
        raise argparse.ArgumentTypeError(f"expected whole numbers like 1,3, got {text!r}")
    return tuple(map(int, words))


def add_selection(group: Any) -> None:
    """Add which examples of the data are read."""
    group.add_argument(
        "--languages", type=comma_list, metavar="TAGS", help="such as sw,th; all by default"
    )
    group.add_argument("--limit", type=whole, metavar="N", help="at most N examples a language")


def add_overrides(group: Any, help_: str) -> None:
    """Add ``--set``."""
    group.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=help_)


def add_dtype(parser: Any) -> None:
    """Add ``--dtype``."""
    parser.add_argument(
        "--dtype",
        choices=DTYPES,
        help="arithmetic of both models (default: as stored); bfloat16 takes half the memory, and "
        "less time where the processor has it",
    )


def refuse_options(args: argparse.Namespace, names: Iterable[str], reason: str) -> None:
    """Leave if one of these options is given."""
    for name in names:
        if getattr(args, name) not in (None, False, []):
            args.parser.error(f"--{name.replace('_', '-')} {reason}")
