"""Text of unknown origin that is safe to print."""

from __future__ import annotations


def printable(text: str) -> str:
    """Escape everything in `text` that could break a line or control a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
