"""Text of unknown origin that is safe to print."""

from __future__ import annotations

import argparse
import logging
from typing import NoReturn


def printable(text: str) -> str:
    """Escape everything in `text` that could break a line or control a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def printable_lines(text: str) -> str:
    """The same for text whose line feeds are meant."""
    return "\n".join(map(printable, text.split("\n")))


def is_utf8(text: str) -> bool:
    """Whether UTF-8 can encode the text; False for lone surrogates, as os.fsdecode and JSON return them."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class PrintableFormatter(logging.Formatter):
    """Formats log records for a terminal, whatever names they contain."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record, with its traceback."""
        return printable_lines(super().format(record))


class Parser(argparse.ArgumentParser):
    """Repeats wrong arguments in errors as printable text: a shell's pattern may match files of any name."""

    def error(self, message: str) -> NoReturn:
        """Print usage and message, and exit."""
        super().error(printable(message))
