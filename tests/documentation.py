"""The pages of the documentation, their fenced blocks, and the commands in those."""

from __future__ import annotations

import re
import shlex
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]
FENCE = re.compile(r"^```(?P<kind>\w+)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_ENDS = ("|", ";", "&&")
_ASSIGNMENT = re.compile(r"[A-Z_]+=.*")


def blocks(page: Path) -> list[tuple[str, str]]:
    """Kind and body of every fenced block."""
    return [(match["kind"], match["body"]) for match in FENCE.finditer(page.read_text("utf-8"))]


def shell_lines(page: Path) -> list[str]:
    """Lines of shell blocks, with those put together that a backslash divides."""
    bodies = [body.replace("\\\n", " ") for kind, body in blocks(page) if kind in ("bash", "sh")]
    return [line for body in bodies for line in body.splitlines() if line.strip()]


def calls(line: str) -> list[list[str]]:
    """Program and arguments of every command of a line, without redirections and variables."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    commands = [list(words) for is_end, words in groupby(lexer, _ENDS.__contains__) if not is_end]
    return [found for words in commands if (found := _plain(words))]


def _plain(words: list[str]) -> list[str]:
    while words and _ASSIGNMENT.fullmatch(words[0]):
        words = words[1:]
    return words[: words.index(">")] if ">" in words else words
