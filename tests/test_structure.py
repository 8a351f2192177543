"""The shape of the source tree: imports go one way, files stay short, the library is silent."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "layalign"
FILES = sorted(SOURCE.rglob("*.py"))
MAX_LINES = 400

# A part may import parts of a lower level, and itself.
LEVELS = {
    "errors": 0,
    "durable": 0,
    "embedded": 1,
    "chat_format": 1,
    "memory": 1,
    "processes": 1,
    "padding": 1,
    "fields": 1,
    "yaml_files": 1,
    "model": 2,
    "data": 3,
    "processing": 4,
    "eval": 5,
    "train": 6,
    "generation": 7,
    "analysis": 7,
    "comparison": 7,
    "bench": 7,
    "planning": 8,
    "publishing": 8,
    "report": 8,
    "serve": 8,
    "quickstart": 8,
    "cli": 9,
    "__main__": 10,
}
ENTRY_POINTS = {"__init__", "__main__", "cli"}
TORCH_FREE = ("eval/answers.py", "eval/metrics.py")

in_every_file = pytest.mark.parametrize(
    "path", FILES, ids=lambda path: path.relative_to(SOURCE).as_posix()
)


def part(path: Path) -> str:
    """The first name below layalign."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(tree: ast.AST) -> Iterator[str]:
    """Names of imported modules, those for type checkers only left out."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where a name is from"
            if node.module == "layalign":
                yield from (f"layalign.{alias.name}" for alias in node.names)
            else:
                yield node.module or ""
        else:
            yield from imports(node)


@in_every_file
def test_imports_go_one_way(path: Path) -> None:
    own = part(path)
    for module in imports(ast.parse(path.read_text(encoding="utf-8"))):
        root, _, rest = module.partition(".")
        other = rest.split(".")[0]
        if root != "layalign" or other in (own, "", "__version__"):
            continue
        if other not in LEVELS:  # one of the package's public names
            assert own in ENTRY_POINTS, f"{own} imports {other}; name the module it is from"
        elif own != "__init__":
            assert LEVELS[other] < LEVELS[own], f"{own} must not import {other}"


@pytest.mark.parametrize("name", TORCH_FREE)
def test_scoring_does_not_import_torch(name: str) -> None:
    roots = {module.split(".")[0] for module in imports(ast.parse((SOURCE / name).read_text()))}
    assert not roots & {"torch", "transformers"}


@in_every_file
def test_files_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


@in_every_file
def test_only_the_command_line_prints(path: Path) -> None:
    if part(path) == "cli":
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            assert ast.unparse(node.func) != "print", f"line {node.lineno} prints"
