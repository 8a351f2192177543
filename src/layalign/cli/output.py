"""What all commands print alike: results on stdout, progress on stderr."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")

_CONTROLS = re.compile("[\x7f-\x9f]")  # JSON has the others escaped


def print_json(values: Any) -> None:
    """Print plain values."""
    text = json.dumps(values, ensure_ascii=False, indent=2)
    print(_CONTROLS.sub(lambda match: f"\\u{ord(match[0]):04x}", text))


def printable(text: str) -> str:
    """One line without control characters, which a file may hold and a terminal would obey."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in " ".join(text.split()))


def results(*, beside_json: bool = False) -> Console:
    """The console that tables go to; off a terminal wide enough for them.

    Args:
        beside_json: Whether stdout belongs to JSON, so that the tables are for stderr.
    """
    from rich.console import Console

    console = Console(stderr=beside_json)
    return console if console.is_terminal else Console(stderr=beside_json, width=100)


def progress(
    bars: Callable[[Console], AbstractContextManager[T]], *, quiet: bool
) -> AbstractContextManager[T | None]:
    """Open progress bars on stderr, unless nothing is to be seen: then the progress is None."""
    from rich.console import Console

    return nullcontext() if quiet else bars(Console(stderr=True))
