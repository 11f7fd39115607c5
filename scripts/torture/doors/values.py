"""Changes values of JSON documents: each in turn, or one by chance."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

DEEPEST = 20  # levels that are changed
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 0.5, -0.0, 1e308, 1e999, -1e999, float("nan"), 10**18, 10**30, 10**400),
    *(
        "",
        " ",
        "a",
        "1",
        "\0",
        "\n",
        "\ud800",
        "\u202e",
        "../../outside",
        "/etc/passwd",
        "-",
        "=1+1",
        "<b>",
        "x" * 10_000,
    ),
    *([], {}, [[]], [{}], {"": None}, [None], ["a", "a"], [0, 0, 0, 0], {"a": {"a": []}}),
)
Path = tuple[str | int, ...]


def each_value_changed(content: bytes) -> Iterator[bytes]:
    """The document without each of its values in turn, and with each of VALUES in its place; nothing for other content.

    Of JSON lines the first two are changed.
    """
    for at, tree in _documents(content)[:2]:
        for path in _paths(tree):
            yield _with(content, at, tree, path, None, remove=True)
            for value in VALUES:
                yield _with(content, at, tree, path, value)


def values_changed(content: bytes, chance: random.Random) -> bytes | None:
    """The document with a value that is replaced, removed or renamed; None for other content."""
    documents = _documents(content)
    if not documents:
        return None
    at, tree = chance.choice(documents)
    path = chance.choice(list(_paths(tree)))
    return _with(content, at, tree, path, chance.choice(VALUES), remove=chance.random() < 0.2)


def _documents(content: bytes) -> list[tuple[int | None, Any]]:
    """The document, or the number and the document of each line."""
    try:
        return [(None, json.loads(content))]
    except (ValueError, RecursionError):
        pass
    documents: list[tuple[int | None, Any]] = []
    for at, line in enumerate(content.split(b"\n")):
        if line.startswith(b"{"):
            try:
                documents.append((at, json.loads(line)))
            except (ValueError, RecursionError):
                continue
    return documents


def _paths(tree: Any, path: Path = ()) -> Iterator[Path]:
    yield path
    if len(path) < DEEPEST:
        items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
        for key, value in items:
            yield from _paths(value, (*path, key))


def _with(content: bytes, at: int | None, tree: Any, path: Path, value: Any, *, remove: bool = False) -> bytes:
    tree = [json.loads(json.dumps(tree))]
    owner: Any = tree
    *above, last = (0, *path)
    for key in above:
        owner = owner[key]
    if remove:
        del owner[last]
    else:
        owner[last] = value
    text = b"".join(json.dumps(item).encode() for item in tree)
    if at is None:
        return text
    lines = content.split(b"\n")
    lines[at] = text
    return b"\n".join(lines)
