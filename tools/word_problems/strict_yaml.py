"""Read YAML so that a slip is an error: duplicate keys and unknown top-level keys are refused."""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path
from typing import Any

import yaml


class CatalogueError(ValueError):
    """The catalogue or a language file is not valid; the message names file and key."""


class _Loader(yaml.SafeLoader):
    """A safe loader that refuses duplicate keys, which YAML would silently overwrite."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        repeated = sorted({str(key) for key in keys if keys.count(key) > 1})
        if repeated:
            raise CatalogueError(f"line {node.start_mark.line + 1}: repeated keys {repeated}")
        return super().construct_mapping(node, deep=deep)


def load_mapping(
    path: Path, required: Set[str], optional: Set[str] = frozenset()
) -> dict[str, Any]:
    """Read a YAML file whose top level has exactly the given keys.

    Raises:
        CatalogueError: The file is not YAML, a required key is missing or a key is unknown.
    """
    data = load_entries(path)
    found = set(data)
    missing, unknown = required - found, found - required - optional
    if missing or unknown:
        raise CatalogueError(
            f"{path.name}: top-level keys: missing {sorted(missing)}, "
            f"unknown {sorted(map(str, unknown))}"
        )
    return data


def load_entries(path: Path) -> dict[str, Any]:
    """Read a YAML mapping with any keys.

    Raises:
        CatalogueError: The file is not YAML or not a mapping.
    """
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except (yaml.YAMLError, CatalogueError) as error:
        raise CatalogueError(f"{path.name}: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise CatalogueError(f"{path.name}: expected a mapping, found {type(data).__name__}")
    return data
