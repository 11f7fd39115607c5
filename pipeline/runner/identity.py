"""The identity of a stage: everything that its result depends on, as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any


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


def plain(value: Any) -> Any:
    """Convert dataclasses, paths and tuples to JSON values.

    A field with the metadata `identity: False` changes no result and is left out. A field with `identity: "unless
    default"` is left out at its default, so that results from before the field existed stay valid.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = (entry for entry in dataclasses.fields(value) if _counts(entry, getattr(value, entry.name)))
        return {entry.name: plain(getattr(value, entry.name)) for entry in fields}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def contents(value: Any) -> Any:
    """Convert what changes a result to JSON values for publication: without paths, which are private."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {entry.name: getattr(value, entry.name) for entry in dataclasses.fields(value) if _changes(entry)}
        return {name: contents(item) for name, item in fields.items() if not isinstance(item, Path)}
    if isinstance(value, Mapping):
        return {str(key): contents(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [contents(item) for item in value]
    return value


def _changes(entry: dataclasses.Field[Any]) -> bool:
    return bool(entry.metadata.get("identity", True))


def _counts(entry: dataclasses.Field[Any], value: Any) -> bool:
    mark = entry.metadata.get("identity", True)
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


def package_version(package: str) -> str:
    """Return the installed version of a distribution, or "not installed"."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
