"""Options, exit codes and error messages that all commands of tagger.pyz share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from mlkd.core.printable import printable

T = TypeVar("T")
NEEDED = {"numpy": "numpy", "PIL": "Pillow"}
OK, SOME_FAILED, USER_ERROR, INTERRUPTED = 0, 1, 2, 130


def command(commands: Any, name: str, run: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
    """Add a command that calls `run`, whose docstring is its help."""
    parser: argparse.ArgumentParser = commands.add_parser(name, help=run.__doc__, description=run.__doc__)
    parser.set_defaults(run=run)
    parser.add_argument(
        "--bundle", type=Path, default=_home(), metavar="FOLDER", help="default: the folder of tagger.pyz"
    )
    parser.add_argument(
        "--require-signature", type=Path, metavar="KEY", help="refuse a bundle that is not signed by this public key"
    )
    parser.add_argument("--verbose", action="store_true", help="print which engine runs, and why")
    parser.add_argument("--debug", action="store_true", help="print the traceback of an error")
    return parser


def rebuild_option(parser: argparse.ArgumentParser) -> None:
    """Add --rebuild; not for bench and scores, because building would add to the memory and time of the engine."""
    text = "compile engines for another device or version from the bundle's ONNX, into this device's cache"
    parser.add_argument("--rebuild", action="store_true", help=text)


def number(kind: Callable[[str], T], text: str) -> T:
    """A number of this kind, for argparse, which would name the function that failed."""
    try:
        return kind(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number, got {text!r}") from None


def count(text: str) -> int:
    """A number of at least 1, for argparse."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a number of at least 1, got {text}")
    return value


def note(text: str) -> None:
    """Print a line on standard error, whatever names of a bundle it has."""
    print(printable(text), file=sys.stderr)


def fail(cause: BaseException) -> int:
    """Print the error in one line."""
    note(f"tagger: {one_line(cause)}")
    return USER_ERROR


def one_line(cause: BaseException) -> str:
    """The message of an error in one line."""
    if isinstance(cause, ModuleNotFoundError) and cause.name in NEEDED:
        package = NEEDED[cause.name]
        return (
            f"{package}: expected it in {sys.executable}, got none; install numpy and Pillow for this Python, "
            "or run the Python of a virtual environment that has them"
        )
    return printable(" ".join(str(cause).split())) or type(cause).__name__


def _home() -> Path:
    """The folder of tagger.pyz, or the current folder when running from the sources.

    Links are resolved, so that they may be switched while the program runs.
    """
    program = Path(__file__).parents[2]
    return program.resolve().parent if program.is_file() else Path()
