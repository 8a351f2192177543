"""Build dataclasses from plain values (YAML, JSON), with errors that say where and what to do."""

from __future__ import annotations

import dataclasses
import math
import reprlib
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

from layalign.errors import ConfigError, LayAlignError, nearest

T = TypeVar("T")

_MAX_INTEGER = 2**63


def from_mapping(cls: type[T], values: object, where: str, *, base: T | None = None) -> T:
    """Make a dataclass, recursively, from a mapping.

    Args:
        cls: The dataclass.
        values: What the mapping should be.
        where: Dotted name of the mapping, for errors; may be empty.
        base: Takes the place of the dataclass's own defaults.

    Raises:
        ConfigError: Not a mapping, an unknown key, a missing key or a value of the wrong type.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where or 'recipe'} is {_show(values)}; expected a mapping of settings")
    hints = typing.get_type_hints(cls)
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    names = [field.name for field in fields]
    check_keys(values, names, where)
    given = {
        name: convert(values[name], hints[name], dotted(where, name))
        for name in names
        if name in values
    }
    missing = [f.name for f in fields if f.name not in given and _required(f)]
    if missing and base is None:
        raise ConfigError(f"{dotted(where, missing[0])} is missing; add it")
    try:
        return cls(**given) if base is None else dataclasses.replace(base, **given)  # type: ignore[type-var]
    except LayAlignError as error:
        raise ConfigError(f"{where}: {error}" if where else str(error)) from error


def check_keys(values: Mapping[Any, Any], known: Iterable[str], where: str) -> None:
    """Refuse unknown keys and suggest the nearest known one.

    Raises:
        ConfigError: A key is not known.
    """
    known = list(known)
    for key in values:
        if key not in known:
            hint = nearest(str(key), known) or f"; expected one of {', '.join(known)}"
            raise ConfigError(f"unknown key {dotted(where, str(key))!r}{hint}")


def dotted(where: str, name: str) -> str:
    """Name of a setting inside another."""
    return f"{where}.{name}" if where else name


def differing(one: Any, other: Any) -> list[str]:
    """Dotted keys in which two sets of plain values differ, sorted."""
    flat = [dict(_flatten(values)) for values in (one, other)]
    keys = sorted({*flat[0], *flat[1]})
    return [key for key in keys if flat[0].get(key) != flat[1].get(key)]


def _flatten(values: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(values, Mapping):
        pairs: Any = values.items()
    elif isinstance(values, list):
        pairs = enumerate(values)
    else:
        yield where, values
        return
    for key, value in pairs:
        yield from _flatten(value, dotted(where, str(key)))


def convert(value: Any, hint: Any, where: str) -> Any:
    """Check a plain value against a type hint, and convert what YAML cannot say itself.

    Raises:
        ConfigError: The value does not fit.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        return _convert_union(value, hint, arguments, where)
    if origin is Literal:
        return _convert_literal(value, arguments, where)
    if origin is tuple:
        return _convert_tuple(value, arguments, where)
    if origin in (dict, Mapping):  # get_origin of Mapping[…] is the abstract class
        return _convert_mapping(value, arguments, where)
    if not dataclasses.is_dataclass(hint):
        return _convert_plain(value, hint, where)
    done = isinstance(value, hint)  # type: ignore[arg-type]
    return value if done else from_mapping(hint, value, where)  # type: ignore[arg-type]


def _convert_literal(value: Any, arguments: tuple[Any, ...], where: str) -> Any:
    if value in arguments:
        return value
    expected = ", ".join(map(str, arguments))
    raise ConfigError(f"{where} is {_show(value)}; expected one of {expected}")


def _convert_union(value: Any, hint: Any, arguments: tuple[Any, ...], where: str) -> Any:
    options = [a for a in arguments if a is not type(None)]
    if value is None and len(options) < len(arguments):
        return None
    lists = [option for option in options if typing.get_origin(option) is tuple]
    if isinstance(value, (list, tuple)) and len(lists) == 1:
        options = lists  # so that an error names the entry
    if len(options) == 1:
        return convert(value, options[0], where)
    for option in options:
        try:
            return convert(value, option, where)
        except ConfigError:
            continue
    expected = " or ".join(map(_in_words, options))
    raise ConfigError(f"{where} is {_show(value)}; expected {expected}")


def _convert_tuple(value: Any, arguments: tuple[Any, ...], where: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise ConfigError(f"{where} is {_show(value)}; expected a list")
    if arguments[-1] is Ellipsis:
        arguments = (arguments[0],) * len(value)
    if len(arguments) != len(value):
        raise ConfigError(f"{where} has {len(value)} entries; expected {len(arguments)}")
    return tuple(
        convert(entry, hint, f"{where}[{i}]")
        for i, (entry, hint) in enumerate(zip(value, arguments, strict=True))
    )


def _convert_mapping(value: Any, arguments: tuple[Any, ...], where: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where} is {_show(value)}; expected a mapping")
    hint = arguments[1] if arguments else Any
    return {str(key): convert(entry, hint, dotted(where, str(key))) for key, entry in value.items()}


def _convert_plain(value: Any, hint: Any, where: str) -> Any:
    if hint in (float, int) and not isinstance(value, bool):
        number = _number(value, hint)
        if number is not None:
            return number
    elif hint is Path and isinstance(value, str):
        return Path(value)
    elif isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
        return value
    raise ConfigError(f"{where} is {_show(value)}; expected {_in_words(hint)}")


def _number(value: Any, hint: type[float | int]) -> float | int | None:
    """The value as a finite number of that type, and of a size that every library takes."""
    if hint is int:
        is_whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        return int(value) if is_whole and abs(value) < _MAX_INTEGER else None
    try:
        number = float(value)  # YAML reads 3e-4 as text
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _in_words(hint: Any) -> str:
    """What a type hint allows, for somebody who writes YAML."""
    names: dict[Any, str] = {
        **{float: "a number", int: "a whole number", bool: "true or false", str: "text"},
        **{tuple: "a list", dict: "a mapping", Mapping: "a mapping"},
    }
    return names.get(typing.get_origin(hint) or hint) or str(getattr(hint, "__name__", hint))


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _show(value: object) -> str:
    # Aliases of YAML can make a short file stand for more text than fits in memory.
    text = _REPR.repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 60
