"""Read values of YAML into frozen dataclasses: unknown keys are errors, and all faults are reported at once."""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import types
import typing
from collections.abc import Collection
from pathlib import Path
from typing import Any, TypeVar

from pipeline.recipe.faults import ConfigError, Fault
from pipeline.recipe.grid import Grid

T = TypeVar("T")


def build(cls: type[T], tree: Any, file: object, what: str = "recipe") -> T:
    """Build the dataclass `cls` from JSON-like values; raises ConfigError with all faults."""
    faults: list[Fault] = []
    built = _read(cls, tree, "", faults)
    if faults:
        raise ConfigError(file, faults, what)
    assert isinstance(built, cls)
    return built


_NAMES: dict[Any, str] = {
    int: "a whole number", float: "a number", str: "text", bool: "true or false", Path: "a path",
    type(None): "nothing", list: "a list", dict: "keys with values",
}  # fmt: skip
GRID = "keys with values or lists of values"


def _read(kind: Any, value: Any, path: str, faults: list[Fault]) -> Any:
    """Read `value` as a type annotation; the result counts only if no fault was added."""
    choices = [choice for choice in _choices(kind) if dataclasses.is_dataclass(choice)]
    if choices and not (value is None and type(None) in _choices(kind)):
        return _read_dataclass(choices, value, path, faults)
    if typing.get_origin(kind) is Grid:
        return _read_grid(typing.get_args(kind)[0], value, path, faults)
    if typing.get_origin(kind) is tuple and dataclasses.is_dataclass(_choices(typing.get_args(kind)[0])[0]):
        return _read_list(typing.get_args(kind)[0], value, path, faults)
    try:
        read = _read_simple(kind, value)
    except TypeError:
        from pydantic import TypeAdapter, ValidationError  # takes 0.1 s, and a valid recipe rarely needs it

        try:
            read = TypeAdapter(kind).validate_json(json.dumps(value), strict=True)
        except (ValidationError, TypeError):
            faults.append(Fault(path, _mismatch(kind, value)))
            return None
    return read.expanduser().absolute() if isinstance(read, Path) else read


def _read_simple(kind: Any, value: Any) -> Any:
    """Read a value of the most frequent kinds as pydantic reads it; raises TypeError for any other."""
    choices = _choices(kind)
    if value is None and type(None) in choices:
        return None
    kinds = [choice for choice in choices if choice is not type(None)]
    if len(kinds) != 1:
        raise TypeError(kind)
    (kind,) = kinds
    if kind in (int, str, bool) and type(value) is kind:
        return value
    if kind is float and type(value) in (int, float) and math.isfinite(value):
        return float(value)
    if kind is Path and isinstance(value, str):
        return Path(value)
    if typing.get_origin(kind) is typing.Literal and value in typing.get_args(kind) and isinstance(value, str):
        return value
    raise TypeError(kind)


def _read_list(kind: Any, value: Any, path: str, faults: list[Fault]) -> Any:
    if not isinstance(value, list):
        faults.append(Fault(path, f"expected a list, got {_shown(value)}"))
        return None
    return tuple(_read(kind, item, f"{path}.{index}", faults) for index, item in enumerate(value))


def _read_grid(cls: Any, value: Any, path: str, faults: list[Fault]) -> Any:
    """Read some keys of a dataclass, each with one value or a list of distinct ones."""
    if not isinstance(value, dict):
        faults.append(Fault(path, f"expected {GRID}, got {_shown(value)}"))
        return None
    hints, read = typing.get_type_hints(cls), dict[str, tuple[Any, ...]]()
    names = [field.name for field in dataclasses.fields(cls) if field.init]
    _refuse_unknown(value, names, path, faults)
    for name in (name for name in names if name in value):
        place = _join(path, name)
        if not isinstance(value[name], list):
            read[name] = (_read(hints[name], value[name], place, faults),)
            continue
        read[name] = _read_list(hints[name], value[name], place, faults)
        if not read[name] or any(item in read[name][:index] for index, item in enumerate(read[name])):
            faults.append(Fault(place, f"expected at least one and distinct values, got {_shown(value[name])}"))
    return Grid(read)


def _read_dataclass(choices: list[Any], value: Any, path: str, faults: list[Fault]) -> Any:
    if not isinstance(value, dict):
        faults.append(Fault(path, f"expected keys with values, got {_shown(value)}"))
        return None
    cls = choices[0] if len(choices) == 1 else _select(choices, value, path, faults)
    if cls is None:
        return None
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
    before = len(faults)
    _refuse_unknown(value, fields, path, faults)
    hints = typing.get_type_hints(cls)
    read = {name: _read(hints[name], value[name], _join(path, name), faults) for name in fields if name in value}
    for name, field in fields.items():
        if name not in value and field.default is field.default_factory is dataclasses.MISSING:
            faults.append(Fault(_join(path, name), f"expected {_named(hints[name])}, got nothing; add the key"))
    if len(faults) == before:
        try:
            return cls(**read)
        except ValueError as cause:  # a range, checked by the dataclass
            faults.append(_range_fault(path, str(cause)))
    return None


def _refuse_unknown(value: dict[str, Any], known: Collection[str], path: str, faults: list[Fault]) -> None:
    for key in value.keys() - set(known):
        faults.append(Fault(_join(path, str(key)), f"expected one of {', '.join(known)}; {_nearest(str(key), known)}"))


def _select(choices: list[Any], value: dict[str, Any], path: str, faults: list[Fault]) -> Any:
    """The member of a union that `kind` selects."""
    kinds = {typing.get_args(typing.get_type_hints(choice)["kind"])[0]: choice for choice in choices}
    kind = value.get("kind")
    if isinstance(kind, str) and kind in kinds:
        return kinds[kind]
    got = "got nothing; add the key" if kind is None else _nearest(str(kind), kinds)
    faults.append(Fault(_join(path, "kind"), f"expected one of {', '.join(kinds)}; {got}"))
    return None


def _choices(kind: Any) -> tuple[Any, ...]:
    return typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, types.UnionType) else (kind,)


def _mismatch(kind: Any, value: Any) -> str:
    if typing.get_origin(kind) is typing.Literal:
        known = [str(choice) for choice in typing.get_args(kind)]
        return f"expected one of {', '.join(known)}; {_nearest(str(value), known)}"
    return f"expected {_named(kind)}, got {_shown(value)}"


def _nearest(key: str, known: typing.Iterable[str]) -> str:
    close = difflib.get_close_matches(key, list(known), n=1)
    return f"got {key!r}" + (f"; did you mean {close[0]}?" if close else "")


def _range_fault(path: str, message: str) -> Fault:
    """Drop the class and field at the start of a message: the path contains both."""
    last = path.rpartition(".")[2]
    head, colon, tail = message.partition(":")
    if colon and head.startswith(f"{last}."):
        return Fault(_join(path, head.removeprefix(f"{last}.")), tail.strip())
    return Fault(path, message)


def _named(kind: Any) -> str:
    if typing.get_origin(kind) is typing.Literal:
        return "one of " + ", ".join(map(str, typing.get_args(kind)))
    if typing.get_origin(kind) is tuple:
        return "a list"
    if len(_choices(kind)) > 1:
        return " or ".join(dict.fromkeys(_named(choice) for choice in _choices(kind)))
    if typing.get_origin(kind) is Grid:
        return GRID
    return "keys with values" if dataclasses.is_dataclass(kind) else _NAMES.get(kind, str(kind))


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return f"{text if len(text) <= 60 else text[:57] + '…'} ({_NAMES.get(type(value), type(value).__name__)})"


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
