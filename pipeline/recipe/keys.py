"""The keys of a configuration dataclass, documented by the comments behind them in the source."""

from __future__ import annotations

import ast
import dataclasses
import gc
import inspect
import io
import textwrap
import tokenize
import typing
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Key:
    """One field; `default` is MISSING for a required one."""

    name: str
    kind: Any
    default: Any
    comment: str


def keys(cls: type) -> list[Key]:
    """The fields of a dataclass that a recipe can set."""
    hints, comments = typing.get_type_hints(cls), _comments(cls)
    return [
        Key(field.name, hints[field.name], _default(field), comments.get(field.name, ""))
        for field in dataclasses.fields(cls)
        if field.init
    ]


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _comments(cls: type) -> dict[str, str]:
    """The comment in the last or first line of a field, for the fields of the class and of its bases."""
    comments: dict[str, str] = {}
    collects = gc.isenabled()
    gc.disable()  # CPython 3.11 raises SystemError where a finalizer runs while it builds a syntax tree
    try:
        for owner in reversed(cls.__mro__):
            if dataclasses.is_dataclass(owner):
                comments |= _own_comments(textwrap.dedent(inspect.getsource(owner)))
    finally:
        if collects:
            gc.enable()
    return comments


def _own_comments(source: str) -> dict[str, str]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    of_line = {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}
    body = typing.cast(ast.ClassDef, ast.parse(source).body[0]).body
    fields = [node for node in body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)]
    return {
        typing.cast(ast.Name, node.target).id: of_line.get(node.end_lineno or 0, of_line.get(node.lineno, ""))
        for node in fields
    }
