"""The ``layalign`` command. Nothing slow is imported before a command runs."""

from __future__ import annotations

import argparse
import errno
import io
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout

from layalign import __version__, processes
from layalign.cli import (
    analyze,
    bench,
    chat,
    compare,
    convert,
    data,
    demo,
    evaluate,
    export,
    generate,
    inspect,
    models,
    plan,
    quickstart,
    report,
    serve,
    status,
    train,
)
from layalign.cli.output import printable
from layalign.cli.parser import Parser
from layalign.errors import ConfigError, LayAlignError, StopError
from layalign.memory import keep_freed_memory

COMMANDS = (
    *(quickstart, data, plan, train, status, compare, evaluate, analyze, report),
    *(generate, chat, serve, demo, export, models, inspect, convert, bench),
)
SHARED = ("train", "evaluate", "generate")
"""Commands whose work several processes can share."""
INTERRUPTED = 130
BROKEN_PIPE = 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: Arguments without the program's name; those of the process by default.

    Returns:
        The exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted, 143 ended by SIGTERM.
    """
    parser = make_parser()
    args, unknown = parser.parse_known_args(argv)
    if unknown:
        args.parser.refuse(unknown)
    if args.command is None:
        parser.print_help(sys.stderr)
        return 2
    _prepare(args)
    if argv is None:  # the process is ours
        keep_freed_memory()
    try:
        with _together(args), _logged(_level(args)):
            return int(args.run(args)) if args.debug else _run(args)
    except LayAlignError as error:  # while joining; what a command raises is told inside
        if args.debug:
            raise
        return _fail(str(error), error.exit_code)


def make_parser() -> Parser:
    """Build the parser of all commands."""
    parser = Parser(prog="layalign", description=_description())
    parser.add_argument("--version", action="version", version=f"layalign {__version__}")
    _add_globals(parser, default=False)
    parser.set_defaults(parser=parser)
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for command in COMMANDS:
        command.add_parser(subparsers)
    for name, subparser in subparsers.choices.items():
        # Absent, not False: a command's default would undo `layalign --quiet COMMAND`.
        _add_globals(subparser, default=argparse.SUPPRESS)
        subparser.set_defaults(parser=subparser, command=name)
    return parser


def _description() -> str:
    import layalign

    return layalign.__doc__ or ""


def _add_globals(parser: argparse.ArgumentParser, *, default: bool | str) -> None:
    parser.add_argument(
        "--debug", action="store_true", default=default, help="show the traceback of an error"
    )
    parser.add_argument(
        "--quiet", action="store_true", default=default, help="show results and errors only"
    )


def _prepare(args: argparse.Namespace) -> None:
    """Set what libraries read when they are imported, and let every text be printed."""
    for library in ("HUB", "DATASETS"):  # their bars would break up ours
        os.environ.setdefault(f"HF_{library}_DISABLE_PROGRESS_BARS", "1")
    if args.quiet:
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


@contextmanager
def _together(args: argparse.Namespace) -> Iterator[None]:
    """Join the processes that a launcher has started; of several one speaks.

    Raises:
        LayAlignError: The command is for one process, or they do not find each other.
    """
    if processes.launched() == 1:
        yield
        return
    if args.command not in SHARED:
        shared = ", ".join(SHARED)
        raise ConfigError(f"{args.command} is for one process; {shared} are for several")
    with processes.joined(), open(os.devnull, "w", encoding="utf-8") as nowhere:
        if processes.is_main():
            yield
        else:
            args.quiet = True
            with redirect_stdout(nowhere):
                yield


def _level(args: argparse.Namespace) -> int:
    return logging.DEBUG if args.debug else logging.ERROR if args.quiet else logging.INFO


@contextmanager
def _logged(level: int) -> Iterator[None]:
    """Show on stderr what the library has to say."""
    logger, handler = logging.getLogger("layalign"), logging.StreamHandler()
    before = logger.level
    logger.setLevel(level)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


def _run(args: argparse.Namespace) -> int:
    """Run the chosen command, turning every error into one line and a status."""
    try:
        status = int(args.run(args))
        print(end="", flush=True)  # here, so that a reader who has left is noticed here
    except LayAlignError as error:
        return _fail(str(error), error.exit_code)
    except StopError as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED)
    except BrokenPipeError:
        # Python flushes stdout once more when it leaves; that has to go somewhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except Exception as error:
        return _fail(_in_words(error), 1)
    return status


def _in_words(error: Exception) -> str:
    """What is said of an error that is not one of ours."""
    if isinstance(error, OSError) and (error.filename or error.errno == errno.ENOSPC):
        where = error.filename or "output"
        return f"{where}: {error.strerror}; check path, permissions and free space"
    if processes.launched() > 1 and processes.is_desertion(error):
        return processes.DESERTED
    return f"unexpected {type(error).__name__}: {error}; run again with --debug for the traceback"


def _fail(message: str, status: int) -> int:
    # As it stands there: what a launcher says may be just what is wrong.
    rank = (os.environ.get("RANK") or "0") if os.environ.get("WORLD_SIZE", "1") != "1" else "0"
    who = "layalign" if rank == "0" else f"layalign (process {rank})"
    print(printable(f"{who}: error: {message}"), file=sys.stderr)
    return status
