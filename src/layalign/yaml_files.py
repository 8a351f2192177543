"""YAML files of settings: read strictly, and changed from the command line."""

from __future__ import annotations

from collections.abc import Hashable
from os import PathLike
from pathlib import Path
from typing import Any

import yaml

from layalign.errors import ConfigError, reason

_MAX_SIZE = 1 << 20


class _Loader(yaml.SafeLoader):
    """Safe YAML in which a key given twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        if not isinstance(node, yaml.MappingNode):  # something else, tagged as a mapping
            raise ConfigError(f"line {node.start_mark.line + 1}: expected a mapping")
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise ConfigError(f"line {key.start_mark.line + 1}: expected text as a key")
            if key.value in seen:
                raise ConfigError(
                    f"key {key.value!r} is given twice (line {key.start_mark.line + 1})"
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(path: str | PathLike[str]) -> dict[str, Any]:
    """Read a YAML mapping.

    Raises:
        ConfigError: No such file, not YAML, a key twice, or no mapping.
    """
    values = _parse(_read(Path(path)))
    if not isinstance(values, dict):
        raise ConfigError(f"holds {type(values).__name__}; expected a mapping of settings")
    return values


def _read(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_MAX_SIZE + 1)
    except OSError as error:
        raise ConfigError(f"cannot be read ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise ConfigError("is not UTF-8 text; expected a YAML file") from error
    if len(text) > _MAX_SIZE:
        raise ConfigError(f"is longer than {_MAX_SIZE} characters; expected a file of settings")
    return text


def _parse(text: str) -> Any:
    try:
        return yaml.load(text, _Loader)  # a SafeLoader
    except ConfigError:
        raise
    except RecursionError as error:
        raise ConfigError("is not valid YAML: the values are nested too deep") from error
    except Exception as error:  # PyYAML passes on what int, datetime and others say of a value
        mark = getattr(error, "problem_mark", None)
        line = f" in line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or reason(error)
        raise ConfigError(f"is not valid YAML{line}: {problem}") from error


def apply_override(values: dict[str, Any], override: str) -> None:
    """Set one value inside nested mappings and lists, in place.

    An anchor of YAML makes several keys share one value. What is changed is made anew, so that the
    others keep theirs.

    Args:
        values: From :func:`read_yaml`; mappings that are missing are made.
        override: ``dotted.key=value``, the value as in YAML.

    Raises:
        ConfigError: Not of that form, or the key leads through something without settings.
    """
    name, equals, text = override.partition("=")
    if not equals or not name:
        raise ConfigError(f"override {override!r} is not key=value; write e.g. stage.task.lr=3e-4")
    try:
        value = _parse(text)
    except ConfigError as error:
        raise ConfigError(f"override {override!r}: the value {error}") from error
    *parents, last = name.split(".")
    place: Any = values
    for done, key in enumerate(parents):
        place = _enter(place, key, ".".join(parents[: done + 1]))
    if isinstance(place, list):
        place[_index(place, last, name)] = value
    else:
        place[last] = value


def _enter(place: Any, key: str, where: str) -> Any:
    inside: Any = _index(place, key, where) if isinstance(place, list) else key
    inner = place[inside] if isinstance(place, list) else place.get(key)
    if not isinstance(inner, (dict, list, type(None))):
        raise ConfigError(f"{where} is {inner!r} and has no settings inside")
    place[inside] = {} if inner is None else inner.copy()
    return place[inside]


def _index(place: list[Any], key: str, where: str) -> int:
    if not key.isdecimal() or int(key) >= len(place):
        raise ConfigError(f"{where}: expected an index from 0 to {len(place) - 1}")
    return int(key)
