"""``layalign chat``: talk with a checkpoint."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from layalign.cli.generate import add_answers, write
from layalign.errors import LayAlignError, nearest

if TYPE_CHECKING:
    from layalign.generation import Chat

HELP = """\
/base   let the bare language model answer, or LayAlign again
/clear  forget the conversation
/help   show this
/quit   leave, as the end of the input does"""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    help_ = "talk with a checkpoint, line by line"
    parser = subparsers.add_parser(
        "chat",
        help=help_,
        description=help_,
        epilog=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_answers(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; the status is 1 if a line could not be answered."""
    from layalign.generation import Chat

    chat = Chat(
        args.checkpoint,
        language=args.language,
        max_new_tokens=args.max_new_tokens,
        temperature=args.temperature,
        dtype=args.dtype,
    )
    if not args.quiet:
        _say(f"{_who(chat)} answers; /help shows the commands")
    status = 0
    for line in _lines():
        if line == "/quit":
            break
        if line.startswith("/"):
            _obey(chat, line)
        elif not _answer(chat, line):
            status = 1
    return status


def _lines() -> Iterator[str]:
    """What the user writes, without blank lines; asked for only at a terminal."""
    if sys.stdin.isatty():
        with suppress(ImportError):
            import readline  # noqa: F401  # lines can be edited and called back
        lines: Iterator[str] = iter(lambda: input("> "), None)
    else:
        lines = iter(sys.stdin)
    with suppress(EOFError):
        yield from (line.strip() for line in lines if line.strip())


def _obey(chat: Chat, command: str) -> None:
    if command == "/base":
        _toggle(chat)
    elif command == "/clear":
        chat.history.clear()
        _say("forgotten")
    elif command == "/help":
        _say(HELP)
    else:
        known = ("/base", "/clear", "/help", "/quit")
        _say(f"unknown command {command!r}{nearest(command, known)}; see /help")


def _toggle(chat: Chat) -> None:
    try:
        chat.base = not chat.base
    except LayAlignError as error:
        _say(str(error))
    else:
        _say(f"{_who(chat)} answers")


def _answer(chat: Chat, text: str) -> bool:
    try:
        chat.ask(text, stream=write)
    except LayAlignError as error:
        _say(f"layalign: error: {error}")
        return False
    except KeyboardInterrupt:  # of this answer only
        if not sys.stdin.isatty():
            raise
        _say("\ninterrupted; /quit leaves")
    return True


def _who(chat: Chat) -> str:
    return "the bare language model" if chat.base else "LayAlign"


def _say(text: str) -> None:
    """To the user, not to a file that takes the answers."""
    print(text, file=sys.stderr)
