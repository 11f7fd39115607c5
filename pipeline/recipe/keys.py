"""The keys of a configuration dataclass, documented by the comments behind them in the source."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import io
import re
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


@functools.cache
def keys(cls: type) -> tuple[Key, ...]:
    """The fields of a dataclass that a recipe can set."""
    hints, comments = typing.get_type_hints(cls), dict[str, str]()
    for owner in reversed(cls.__mro__):
        if dataclasses.is_dataclass(owner):
            comments |= _comments(textwrap.dedent(inspect.getsource(owner)))
    return tuple(
        Key(
            name=field.name,
            kind=hints[field.name],
            default=field.default if field.default_factory is dataclasses.MISSING else field.default_factory(),
            comment=comments.get(field.name, ""),
        )
        for field in dataclasses.fields(cls)
        if field.init
    )


def _comments(source: str) -> dict[str, str]:
    """The first comment in the lines of each field; comments in lines of their own do not count."""
    comments: dict[str, str] = {}
    field = ""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.NAME and token.start[1] == 4:
            field = token.string if re.match(r" {4}\w+:", token.line) else ""
        elif token.type == tokenize.COMMENT and field and not token.line.lstrip().startswith("#"):
            comments.setdefault(field, token.string.lstrip("# "))
    return comments
