"""What the commands of tagger.pyz share: their options, their errors, and the bundle they are of."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

OK, SOME_FAILED, USER_ERROR, INTERRUPTED = 0, 1, 2, 130


def command(commands: Any, name: str, run: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
    """A sub-parser that runs `run`, whose docstring is its help."""
    parser: argparse.ArgumentParser = commands.add_parser(name, help=run.__doc__, description=run.__doc__)
    parser.set_defaults(run=run)
    parser.add_argument("--bundle", type=Path, default=_home(), metavar="FOLDER", help="default: beside tagger.pyz")
    parser.add_argument(
        "--require-signature", type=Path, metavar="KEY", help="run nothing that this public key has not signed"
    )
    parser.add_argument("--verbose", action="store_true", help="say which engine runs, and why")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def rebuild_option(parser: argparse.ArgumentParser) -> None:
    """Not for bench and scores: they use what was built, and a builder's memory and time are no engine's."""
    text = "compile from the bundle's ONNX, into this device's cache, what was built for another device or version"
    parser.add_argument("--rebuild", action="store_true", help=text)


def count(text: str) -> int:
    """A number of at least 1, for argparse."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a number of at least 1, got {text}")
    return value


def fail(cause: BaseException) -> int:
    """Say in one line what went wrong."""
    print(f"tagger: {one_line(cause)}", file=sys.stderr)
    return USER_ERROR


def one_line(cause: BaseException) -> str:
    """Its message without line breaks."""
    return " ".join(str(cause).split()) or type(cause).__name__


def _home() -> Path:
    """The folder that tagger.pyz lies in; the current one when it runs from the sources.

    Resolved, so that a link to it may be switched while the program runs.
    """
    program = Path(__file__).parents[2]
    return program.resolve().parent if program.is_file() else Path()
