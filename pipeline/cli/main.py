"""The command line of the pipeline: parse, run one command, and report errors in one block.

Only the module of the command is imported, so that help and short commands start at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from export import __version__
from mlkd.core.printable import Parser, printable
from mlkd.core.processes import TerminatedError, interrupted_by_terminate
from pipeline.cli.temporary import own_temporary_folder
from pipeline.runner import ranks

OK, USER_ERROR, INTERRUPTED, PIPE_CLOSED, TERMINATED = 0, 2, 130, 141, 143
SPIN = "GOMP_SPINCOUNT"  # beside another load, threads that wait and spin for long take the others' cores
RUNS_STAGES = "stages"  # the module whose commands several processes may run together

COMMANDS = {  # command -> its module in pipeline/cli, what it does
    "distill": (RUNS_STAGES, "train teacher, student and baseline"),
    "export": (RUNS_STAGES, "export and quantize the student, and write the bundle"),
    "bench": (RUNS_STAGES, "measure the bundle and report"),
    "report": (RUNS_STAGES, "write the report again from what was measured"),
    "search": ("search", "time many students on the devices, and train those that keep the budget in rungs"),
    "compare": ("compare", "train the student with every method and compare them"),
    "plan": ("plan", "say what would run, why, for about how long, and what teacher and student cost"),
    "doctor": ("doctor", "say why int8 engines are no faster than float, and whether this CPU computes them right"),
    "choose": ("choose", "say which engine to deploy within limits, why, and the runner-up"),
    "init": ("init", "look at a folder of your images, say what is understood, and write a recipe for it"),
    "keygen": ("keygen", "make a pair of keys: a private one that signs bundles, and a public one that checks them"),
    "sign": ("sign", "sign a bundle that was exported; its manifest, and through it every file"),
    "verify": ("verify", "check every file of a bundle, and with a key who signed it"),
    "ship": ("ship", "install the bundle of a recipe on every device of a list, and say who runs what"),
    "web": ("web", "write the page that tags images in a browser, for any static host"),
    "fetch": ("fetch", "fetch the images that the default recipe composes, for a machine that goes offline"),
    "clean": ("clean", "remove the results of one recipe; dist/ stays"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0; 1 if some devices failed, 2 for an error that the user can fix, and, as programs that a signal ends do, 130
        when interrupted, 143 when terminated, and 141 when nobody reads standard output any more.
    """
    if not {"OMP_WAIT_POLICY", SPIN} & os.environ.keys():
        os.environ[SPIN] = "10000"  # before torch reads it
    arguments = sys.argv[1:] if arguments is None else arguments
    options = _parser(*arguments[:1]).parse_args(arguments)
    options.recipe = getattr(options, "named", None) or getattr(options, "recipe", None)
    try:
        if ranks.count() > 1 and COMMANDS[options.command][0] != RUNS_STAGES:
            text = f"{options.command}: expected one process, got {ranks.count()}; run it without the launcher"
            raise ValueError(text)
        with interrupted_by_terminate(), own_temporary_folder():
            code: int | None = options.run(options)
        print(end="", flush=True)  # what fails at exit could not be caught
    except KeyboardInterrupt as cause:
        if ranks.is_first():
            again = "without --force" if getattr(options, "force", None) else "the same command"
            print(f"\ninterrupted: finished stages and epochs are kept; rerun {again} to resume", file=sys.stderr)
        return TERMINATED if isinstance(cause, TerminatedError) else INTERRUPTED
    except (ValueError, OSError, RuntimeError, ImportError) as cause:
        if isinstance(cause, BrokenPipeError) and _is_output_closed():
            return PIPE_CLOSED
        if options.debug:
            raise
        print(_format_error(cause, options), file=sys.stderr)
        return USER_ERROR
    return code or OK


def _is_output_closed() -> bool:
    """Whether the reader of standard output, as head, has seen enough; what is left for it is dropped."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # flushing must not fail again at exit
        return True
    return False


def _format_error(cause: BaseException, options: argparse.Namespace) -> str:
    """The message says what, where, expected and got; the next step always ends the block."""
    lines = (str(cause) or type(cause).__name__).splitlines()
    where = f"{options.command}, recipe {options.recipe}" if options.recipe else options.command
    block = [f"error in {where}{ranks.place()}:", *(f"  {printable(line)}" for line in lines)]
    return "\n".join([*block, "next: fix the problem above and rerun the command; --debug shows where it happened"])


def _parser(chosen: str = "") -> argparse.ArgumentParser:
    """Build the parser of all commands; only the chosen one has its options."""
    parser = Parser(prog="python -m pipeline", description="Distil, export, measure and deploy a tagger.")
    parser.add_argument("--version", action="version", version=f"edge-tagger {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND", dest="command")
    for name, (module, text) in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text)
        if name == chosen:
            command.add_argument("--debug", action="store_true", help="show the traceback of an error")
            implementation = import_module(f"pipeline.cli.{module}")
            implementation.add(command)
            command.set_defaults(run=implementation.run)
    return parser
