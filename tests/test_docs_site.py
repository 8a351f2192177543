"""The documentation's web site has every page, and its links lead somewhere in it."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml

from layalign.cli.main import make_parser
from scripts import ROOT, tool


@pytest.fixture(scope="module")
def site() -> ModuleType:
    pytest.importorskip("mkdocs")
    return tool("docs_site")


def pages(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    entries = nav.values() if isinstance(nav, dict) else nav
    return [page for entry in entries for page in pages(entry)]


def test_every_page_is_in_the_navigation(site: ModuleType) -> None:
    text = (ROOT / "mkdocs.yml").read_text("utf-8")
    there = {path.relative_to(site.DOCS).as_posix() for path in site.DOCS.rglob("*.md")}
    shown = pages(yaml.safe_load(text)["nav"])
    assert sorted(shown) == sorted(there | set(site.ELSEWHERE.values()) | {site.COMMANDS})


@pytest.mark.parametrize(
    ("page", "markdown", "expected"),
    [
        ("index.md", "[a](docs/data.md#b)", "[a](data.md#b)"),
        ("quickstart.md", "[a](../CHANGELOG.md)", "[a](changelog.md)"),
        ("quickstart.md", "[a](data.md) [b](#c)", "[a](data.md) [b](#c)"),
        ("index.md", "[licence](LICENSE)", "`LICENSE`"),
        ("quickstart.md", "[`a`](../src/layalign/recipes/tiny.yaml)", "`a`"),
        ("reference/models.md", "[a](../data.md)", "[a](../data.md)"),
        ("data.md", "[a](https://example.org/x.md)", "[a](https://example.org/x.md)"),
    ],
)
def test_links(site: ModuleType, page: str, markdown: str, expected: str) -> None:
    file = SimpleNamespace(file=SimpleNamespace(src_uri=page))
    assert site.on_page_markdown(markdown, page=file) == expected


def test_every_command_is_on_the_page_of_commands(site: ModuleType) -> None:
    text = "\n".join(site.commands())
    assert "## layalign generate" in text
    assert "--output-column NAME" in text


def test_roles_become_code() -> None:
    pytest.importorskip("griffe")
    role = tool("docs_roles").ROLE
    text = "See :func:`~layalign.eval.compare` and :class:`X`."
    assert role.sub(r"`\g<name>`", text) == "See `layalign.eval.compare` and `X`."


def test_deployment_names_what_is_there() -> None:
    """The container copies files that exist; both start a command with options that it has."""
    pytest.importorskip("layalign.serve")
    container = (ROOT / "deploy" / "Dockerfile").read_text("utf-8")
    copied = [line.split()[1:-1] for line in container.splitlines() if line.startswith("COPY")]
    assert all((ROOT / name).exists() for names in copied for name in names)
    parse = make_parser().parse_known_args
    start, rest = (
        json.loads(re.search(rf"^{name} (\[.*\])$", container, re.MULTILINE)[1])
        for name in ("ENTRYPOINT", "CMD")
    )
    service = (ROOT / "deploy" / "layalign.service").read_text("utf-8")
    own = shlex.split(re.search(r"^ExecStart=(.*)$", service, re.MULTILINE)[1])
    for program, *words in ([*start, *rest], own):
        assert Path(program).name == "layalign"
        args, unknown = parse(words)
        assert args.command == "serve"
        assert not unknown


def test_systemd_takes_the_service(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not on the path")
    service = (ROOT / "deploy" / "layalign.service").read_text("utf-8")
    (tmp_path / "layalign.service").write_text(
        service.replace("/opt/layalign/venv/bin/layalign", sys.executable), "utf-8"
    )
    argv = [analyze, "verify", "--man=no", str(tmp_path / "layalign.service")]
    found = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert "layalign.service" not in found.stderr
