"""Recipes that extend another one: `extends: NAME|FILE`, and only the keys that differ."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.config import ConfigError, Fault, read_yaml

KEY = "extends"


def read_tree(path: Path, find: Callable[[str, Path], Path], below: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The keys of a file, laid over those of the recipe that it extends.

    Keys of mappings are merged one by one; lists, values, and mappings of another `kind` take the place of what was
    there.  `find` gives the file that a name in another file means.  Raises ConfigError.
    """
    tree = read_yaml(path)
    if not isinstance(tree, dict):
        raise ConfigError(path, [Fault("", "expected keys with values, got something else")])
    base = tree.pop(KEY, None)
    if base is None:
        return tree
    if not isinstance(base, str):
        raise ConfigError(path, [Fault(KEY, f"expected the name of a recipe or a file, got {base!r}")])
    try:
        found = find(base, path)
    except ValueError as cause:
        raise ConfigError(path, [Fault(KEY, str(cause))]) from None
    if found.resolve() in [one.resolve() for one in (path, *below)]:
        raise ConfigError(path, [Fault(KEY, f"expected another recipe, got {base}, which extends this one")])
    return _over(read_tree(found, find, (*below, path)), tree)


def _over(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict) and value.get("kind") in (None, old.get("kind")):
            merged[key] = _over(old, value)
        else:
            merged[key] = value
    return merged
