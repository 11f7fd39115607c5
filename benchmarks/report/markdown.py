"""Markdown and HTML from templates: every value is escaped, so that no name can make a table, link or tag."""

from __future__ import annotations

import functools
import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined


@functools.cache
def environment(templates: Path, *, html: bool = False) -> Environment:
    """Return the environment for the templates of a folder; each template is compiled once."""
    return Environment(
        loader=FileSystemLoader(templates),
        autoescape=html,
        finalize=None if html else escape_markdown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def escape_markdown(value: object) -> str:
    """The value as text of one line without meaning for Markdown or HTML."""
    text = re.sub(r"\s+", " ", str(value))
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#~])", r"\\\1", text)
