"""JSON to dataclasses and back; the annotations of a class say what its values must be."""

from __future__ import annotations

import dataclasses
import math
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING
from functools import lru_cache
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


def parse(kind: type[T], value: object, *, ranges: bool = True) -> T:
    """Build a `kind` from the content of a JSON document.

    Unknown keys are dropped.  A missing key, or null where the type does not allow it, gives the field's default.

    Args:
        kind: a dataclass, or a list, tuple or dict of dataclasses.
        value: what `json.loads` returned.
        ranges: whether to apply the checks in `Annotated` types as well.

    Raises:
        ValueError: A value has another type or is out of range; the message begins with its path.
    """
    parsed: T = _read(kind, value, ranges)
    return parsed


def to_json(value: Any) -> Any:
    """Turn dataclasses into objects and nan and infinity into None, for which JSON has no word."""
    if dataclasses.is_dataclass(value):
        return {entry.name: to_json(getattr(value, entry.name)) for entry in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    if hasattr(value, "item"):  # a number of numpy
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _read(kind: Any, value: object, ranges: bool) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _read_fields(kind, value, ranges)
    if origin in (Union, types.UnionType):
        assert inner[1:] == (types.NoneType,), f"{kind}: only `X | None` is supported"
        return None if value is None else _read(inner[0], value, ranges)
    if origin is Annotated:
        parsed = _read(inner[0], value, ranges)
        for check in inner[1:] if ranges else ():
            parsed = check(parsed)
        return parsed
    if origin is Literal:
        return _expect(value in inner, f"one of {', '.join(map(repr, inner))}", value)
    if origin in (list, tuple, dict):
        return _read_items(origin, inner, value, ranges)
    return value if kind is Any else _read_plain(kind, value)


def _read_items(origin: Any, inner: tuple[Any, ...], value: object, ranges: bool) -> Any:
    if origin is dict:
        items = _read_plain(dict, value).items()
        return {str(key): _within(str(key), inner[1], item, ranges) for key, item in items}
    items = _read_plain(list, value)
    if origin is list:
        return [_within(f"[{index}]", inner[0], item, ranges) for index, item in enumerate(items)]
    _expect(len(items) == len(inner), f"a list of {len(inner)}", value)
    return tuple(_read(*pair, ranges) for pair in zip(inner, items, strict=True))


def _read_fields(kind: Any, value: object, ranges: bool) -> Any:
    given, values = _read_plain(dict, value), {}
    for field, hint in _fields(kind):
        has_default = field.default is not MISSING or field.default_factory is not MISSING
        if has_default and given.get(field.name) is None:
            continue
        if field.name not in given:
            raise ValueError(f"{field.name}: expected a value, got nothing")
        values[field.name] = _within(field.name, hint, given[field.name], ranges)
    return kind(**values)


@lru_cache
def _fields(kind: Any) -> list[tuple[dataclasses.Field[Any], Any]]:
    hints = get_type_hints(kind, include_extras=True)
    return [(field, hints[field.name]) for field in dataclasses.fields(kind)]


def _within(place: str, kind: Any, value: object, ranges: bool) -> Any:
    try:
        return _read(kind, value, ranges)
    except ValueError as cause:
        raise ValueError(f"{place}: {cause}") from None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


_PLAIN: dict[Any, tuple[str, Callable[[object], bool]]] = {
    float: ("a number", _is_number),
    int: ("a whole number", lambda value: type(value) is int),
    str: ("text", lambda value: isinstance(value, str)),
    bool: ("true or false", lambda value: isinstance(value, bool)),
    list: ("a list", lambda value: isinstance(value, list)),
    dict: ("an object", lambda value: isinstance(value, dict)),
}


def _read_plain(kind: Any, value: Any) -> Any:
    expected, fits = _PLAIN[kind]
    return kind(_expect(fits(value), expected, value))


def _expect(fits: bool, expected: str, value: object) -> Any:
    if not fits:
        shown = repr(value)
        raise ValueError(f"expected {expected}, got {shown if len(shown) <= 60 else f'{shown[:60]}…'}")
    return value
