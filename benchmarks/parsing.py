"""JSON to dataclasses and back; the annotations of a class say what its values must be."""

from __future__ import annotations

import dataclasses
import math
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass
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
    parsed: T = _Reader(ranges).read(kind, value)
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


@dataclass(frozen=True)
class _Reader:
    ranges: bool

    def read(self, kind: Any, value: object) -> Any:
        if dataclasses.is_dataclass(kind):
            return self._dataclass(kind, value)
        readers: dict[Any, Callable[[Any, Any], Any]] = {
            Annotated: self._annotated, Union: self._optional, types.UnionType: self._optional,
            Literal: self._literal, list: self._list, tuple: self._tuple, dict: self._dict,
        }  # fmt: skip
        reader = readers.get(get_origin(kind))
        return reader(kind, value) if reader else _SCALARS[kind](value)

    def _annotated(self, kind: Any, value: object) -> Any:
        parsed = self.read(kind.__origin__, value)
        for check in kind.__metadata__ if self.ranges else ():
            parsed = check(parsed)
        return parsed

    def _optional(self, kind: Any, value: object) -> Any:
        inner, none = get_args(kind)
        assert none is type(None), f"{kind}: only `X | None` is supported"
        return None if value is None else self.read(inner, value)

    def _literal(self, kind: Any, value: object) -> Any:
        choices = get_args(kind)
        if value not in choices:
            raise _wrong(f"one of {', '.join(map(repr, choices))}", value)
        return value

    def _list(self, kind: Any, value: object) -> list[Any]:
        (inner,) = get_args(kind)
        return [_within(f"[{index}]", self.read, inner, item) for index, item in enumerate(_instance(list, value))]

    def _tuple(self, kind: Any, value: object) -> tuple[Any, ...]:
        inner, items = get_args(kind), _instance(list, value)
        if len(items) != len(inner):
            raise _wrong(f"a list of {len(inner)}", value)
        return tuple(self.read(*pair) for pair in zip(inner, items, strict=True))

    def _dict(self, kind: Any, value: object) -> dict[str, Any]:
        _, inner = get_args(kind)
        items = _instance(dict, value).items()
        return {str(key): item if inner is Any else _within(str(key), self.read, inner, item) for key, item in items}

    def _dataclass(self, kind: Any, value: object) -> Any:
        given = _instance(dict, value)
        values = {}
        for field, hint in _fields(kind):
            has_default = field.default is not MISSING or field.default_factory is not MISSING
            if has_default and given.get(field.name) is None:
                continue
            if field.name not in given:
                raise ValueError(f"{field.name}: expected a value, got nothing")
            values[field.name] = _within(field.name, self.read, hint, given[field.name])
        return kind(**values)


@lru_cache
def _fields(kind: Any) -> list[tuple[dataclasses.Field[Any], Any]]:
    hints = get_type_hints(kind, include_extras=True)
    return [(field, hints[field.name]) for field in dataclasses.fields(kind)]


def _within(place: str, read: Callable[[Any, object], Any], kind: Any, value: object) -> Any:
    try:
        return read(kind, value)
    except ValueError as cause:
        raise ValueError(f"{place}: {cause}") from None


def _instance(kind: type[T], value: object) -> T:
    if not isinstance(value, kind):
        raise _wrong("a list" if kind is list else "an object", value)
    return value


def _number(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) <= sys.float_info.max:
        raise _wrong("a number", value)
    return float(value)


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong("a whole number", value)
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _wrong("text", value)
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise _wrong("true or false", value)
    return value


def _wrong(expected: str, value: object) -> ValueError:
    shown = repr(value)
    return ValueError(f"expected {expected}, got {shown if len(shown) <= 60 else f'{shown[:60]}…'}")


_SCALARS: dict[Any, Callable[[object], Any]] = {float: _number, int: _whole, str: _text, bool: _flag, Any: lambda x: x}
