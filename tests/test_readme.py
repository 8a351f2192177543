"""What the documentation shows works: commands parse, links lead somewhere, snippets run."""

from __future__ import annotations

import contextlib
import io
import re
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

from documentation import PAGES, ROOT, blocks
from layalign.train import load_recipe

LINK = re.compile(r"\]\((?!https?://|#|mailto:)(?P<target>[^)#\s]+)")

OPTIONAL = ("torchao",)
"""Packages that no extra brings; a block that needs one runs where it is there."""

on_every_page = pytest.mark.parametrize(
    "page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix()
)


@on_every_page
def test_links_lead_somewhere(page: Path) -> None:
    for match in LINK.finditer(page.read_text("utf-8")):
        assert (page.parent / match["target"]).exists(), match["target"]


@on_every_page
def test_yaml_blocks_are_recipes(page: Path, tmp_path: Path) -> None:
    for kind, body in blocks(page):
        if kind == "yaml":
            (tmp_path / "recipe.yaml").write_text(body, "utf-8")
            load_recipe(tmp_path / "recipe.yaml")


@on_every_page
def test_python_blocks_run(
    page: Path, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A block sees what the earlier ones defined, as a reader does; output shown is compared."""
    shutil.copytree(tiny_checkpoint, tmp_path / "runs" / "quickstart")
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    printed = ""
    for kind, body in blocks(page):
        if any(f"from {name}" in body and find_spec(name) is None for name in OPTIONAL):
            continue
        if kind == "python":
            output = io.StringIO()
            with contextlib.redirect_stdout(output):
                exec(compile(body, str(page), "exec"), namespace)
            printed = output.getvalue()
        elif kind == "text" and printed:
            assert printed == body
            printed = ""
