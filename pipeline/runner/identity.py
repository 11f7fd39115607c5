"""The identity of a stage: everything that its result depends on, as JSON."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

NOT_INSTALLED = "not installed"


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Describe the differences between two identities, four at most."""
    texts = []
    for path, before, after in _differences(old, new):
        part, _, name = path.partition(".")
        if part == "reads":
            texts.append(f"its input {name} has changed")
        else:
            what = {"version": "the stage's own version", "packages": f"package {name}"}.get(part, name)
            texts.append(f"{what}: {_short(before)} → {_short(after)}")
    return "; ".join(texts[:4]) + (f"; and {len(texts) - 4} more" if len(texts) > 4 else "")


def plain(value: Any, *, published: bool = False) -> Any:
    """Convert dataclasses, paths and tuples to JSON values.

    A field with the metadata `identity: False` changes no result and is left out. A field with `identity: "unless
    default"` is left out at its default, so that results from before the field existed stay valid. What is `published`
    has all fields that change a result, but no path, which is private.  A field with `identity: "unless none"` is left
    out of both where it is None.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {entry: getattr(value, entry.name) for entry in dataclasses.fields(value)}
        return {e.name: plain(item, published=published) for e, item in fields.items() if _counts(e, item, published)}
    if isinstance(value, Mapping):
        return {str(key): plain(item, published=published) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(item, published=published) for item in value]
    return str(value) if isinstance(value, Path) and not published else value


def _counts(entry: dataclasses.Field[Any], value: Any, published: bool) -> bool:
    mark = entry.metadata.get("identity", True)
    if mark == "unless none":
        return value is not None
    if published:
        return bool(mark) and not isinstance(value, Path)
    return bool(value != entry.default) if mark == "unless default" else bool(mark)


def _differences(old: Any, new: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            yield from _differences(old.get(key), new.get(key), f"{path}.{key}" if path else key)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from _differences(before, after, f"{path}.{index}")
    elif old != new:
        yield path, old, new


def _short(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 40 else text[:37] + "…"


@functools.cache  # it parses the whole description of the package
def package_version(package: str) -> str:
    """Return the installed version of a distribution, or NOT_INSTALLED."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return NOT_INSTALLED
