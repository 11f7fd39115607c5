"""The command line of the pipeline: parse, run one command, and report errors in one block."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from export import __version__
from pipeline.cli import choose, clean, compare, doctor, fetch, init, plan, ship, signing, stages
from pipeline.runner import ranks

OK, USER_ERROR, INTERRUPTED = 0, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns 1 if some devices failed, 2 for an error that the user can fix, 130 when interrupted."""
    options = _parser().parse_args(arguments)
    options.recipe = getattr(options, "named", None) or getattr(options, "recipe", None)
    try:
        if ranks.count() > 1 and options.run is not stages.run:
            text = f"{options.command}: expected one process, got {ranks.count()}; run it without the launcher"
            raise ValueError(text)
        code: int | None = options.run(options)
    except KeyboardInterrupt:
        if ranks.is_first():
            print(
                "\ninterrupted: finished stages and epochs are kept; rerun the same command to resume", file=sys.stderr
            )
        return INTERRUPTED
    except (ValueError, OSError, RuntimeError, ImportError) as cause:
        if options.debug:
            raise
        print(_format_error(cause, options), file=sys.stderr)
        return USER_ERROR
    return code or OK


def _format_error(cause: BaseException, options: argparse.Namespace) -> str:
    """The message says what, where, expected and got; the next step always ends the block."""
    lines = (str(cause) or type(cause).__name__).splitlines()
    where = f"{options.command}, recipe {options.recipe}" if options.recipe else options.command
    block = [f"error in {where}{ranks.place()}:", *(f"  {line}" for line in lines)]
    return "\n".join([*block, "next: fix the problem above and rerun the command; --debug shows where it happened"])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pipeline", description="Distil, export, measure and deploy a tagger."
    )
    parser.add_argument("--version", action="version", version=f"edge-tagger {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND", dest="command")
    for verb in (stages, compare, plan, doctor, choose, init, signing, ship, fetch, clean):
        verb.add(commands)
    return parser
