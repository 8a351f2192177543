"""What the documentation's web site needs beside the pages in `docs/`.

Pages that stand elsewhere in the repository join it, links lead to where their target is in the
site, and the page of commands is written from the commands themselves. See `hooks` in `mkdocs.yml`.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
ELSEWHERE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "src/layalign/data/word_problems/README.md": "word_problems.md",
}
COMMANDS = "reference/commands.md"
LINK = re.compile(
    r"\[(?P<label>[^\]]+)\]\((?!https?:|mailto:|#)(?P<path>[^)#\s]+)(?P<anchor>#[^)]*)?\)"
)


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that do not stand in `docs/`."""
    for source, page in ELSEWHERE.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    files.append(File.generated(config, COMMANDS, content="\n".join(commands())))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let links lead to where their target is in the site."""
    place = page.file.src_uri
    sources = {uri: source for source, uri in ELSEWHERE.items()}
    source = ROOT / sources[place] if place in sources else DOCS / place

    def moved(match: re.Match[str]) -> str:
        target = (source.parent / match["path"]).resolve()
        found = in_site(target)
        if found is None:  # not in the site: only its name
            return match["label"] if "`" in match["label"] else f"`{target.relative_to(ROOT)}`"
        link = os.path.relpath(found, Path(place).parent)
        return f"[{match['label']}]({link}{match['anchor'] or ''})"

    return LINK.sub(moved, markdown)


def in_site(target: Path) -> str | None:
    """The page of a file of the repository; None if it has none."""
    if target.is_relative_to(DOCS):
        return target.relative_to(DOCS).as_posix()
    return ELSEWHERE.get(target.relative_to(ROOT).as_posix())


def commands() -> Iterator[str]:
    """Every command's `--help`."""
    from layalign.cli.main import make_parser

    yield "# Commands\n\nWhat `layalign COMMAND --help` prints.\n"
    (subparsers,) = (
        action
        for action in make_parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    for name, parser in subparsers.choices.items():
        parser.formatter_class = partial(parser.formatter_class, width=80)
        yield f"## layalign {name}\n\n```text\n{parser.format_help().strip()}\n```\n"
