"""The command line of tagger.pyz; torch-free."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from export import __version__
from mlkd.core import processes
from mlkd.core.printable import Parser, PrintableFormatter
from pipeline.tagger_cli import describing, installing, measuring, serving, tagging, testing
from pipeline.tagger_cli.command import INTERRUPTED, OK, fail


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 0, 1 if images, engines or checks failed, 2 if nothing could be done."""
    if sys.stderr is None:  # closed; print() would use standard output instead
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115  (open until exit)
    if sys.stdout is None:
        return fail(ValueError("standard output: expected it open, got it closed; redirect it to /dev/null instead"))
    options = _parser().parse_args(arguments)
    handler = logging.StreamHandler()
    handler.setFormatter(PrintableFormatter("tagger: %(message)s"))
    logging.basicConfig(handlers=[handler])
    logging.getLogger("export").setLevel(logging.INFO)
    try:
        code: int = options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has closed the pipe; flushing must not fail again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except KeyboardInterrupt:
        print("tagger: interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as cause:  # runtimes raise their own classes; a device shows one line, not a traceback
        processes.raise_interrupt()
        if options.debug:
            raise
        if isinstance(cause, OSError):  # a full disk; flushing must not fail again at exit
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return fail(cause)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="tagger", description="Tag images with the engines of a bundle.")
    parser.add_argument("--version", action="version", version=f"tagger {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for part in (tagging, serving, describing, measuring, testing, installing):
        part.add(commands)
    return parser
