"""The command line: distill, export, bench, report, plan, fetch, clean."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the real imports wait until a command needs them: torch takes seconds
    from pipeline.recipe import Recipe
    from pipeline.stage import Decision, Line

OK, USER_ERROR, INTERRUPTED = 0, 2, 130
RUNS, DIST = Path("runs"), Path("dist")
TARGETS = {"distill": ("student", "baseline"), "export": ("bundle",), "bench": ("report",), "report": ("report",)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 when it is done, 2 for what the user can mend, 130 when interrupted."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except KeyboardInterrupt:
        print("\nstopped: finished stages and epochs are kept, the same command goes on", file=sys.stderr)
        return INTERRUPTED
    except (ValueError, OSError, RuntimeError, ImportError) as cause:
        if options.debug:
            raise
        print(_block(cause, options), file=sys.stderr)
        return USER_ERROR
    return OK


def run_stages(options: argparse.Namespace) -> None:
    """Run what the command needs and has not finished."""
    from pipeline import stages
    from pipeline.progress import shown

    recipe = _recipe(options)
    line = _line(recipe, options).until(*TARGETS[options.command])
    with shown() as progress:
        stages.fetch_if_needed(recipe, line, progress)
        line.run(progress)
        if options.command != "distill":
            stages.publish(line.folder, DIST / recipe.name)


def plan(options: argparse.Namespace) -> None:
    """Say what would run, why, and for about how long."""
    from pipeline.stage import duration, size

    decisions = _line(_recipe(options), options).plan()
    for decision in decisions:
        print(_plan_line(decision))
    waiting = [decision for decision in decisions if decision.runs]
    known, unknown = (
        [decision for decision in waiting if (decision.seconds is None) is missing] for missing in (False, True)
    )
    told = []
    if known:
        told = [f"about {duration(sum(d.seconds or 0 for d in known))}, {size(sum(d.bytes or 0 for d in known))}"]
    if unknown:
        told += [f"no estimate for {', '.join(decision.stage for decision in unknown)}"]
    print("; ".join(told) or "nothing to do")


def fetch(_: argparse.Namespace) -> None:
    """Fetch the pictures that the default recipe composes, for a machine that goes offline."""
    from pipeline import stages
    from pipeline.progress import shown

    with shown() as progress:
        stages.fetch(progress)


def clean(options: argparse.Namespace) -> None:
    """Remove the results of one recipe; what is in dist/ stays."""
    from pipeline.recipe import find_recipe
    from pipeline.stage import locked

    folder = RUNS / find_recipe(options.recipe).stem
    if folder.is_dir():
        with locked(folder):
            shutil.rmtree(folder)
    print(f"removed {folder}")


def _recipe(options: argparse.Namespace) -> Recipe:
    from pipeline.recipe import load_recipe

    return load_recipe(options.recipe, options.data)


def _line(recipe: Recipe, options: argparse.Namespace) -> Line:
    from pipeline import stages

    return stages.line(recipe, RUNS / recipe.name, frozenset(options.force))


def _plan_line(decision: Decision) -> str:
    from pipeline.stage import duration, size

    if not decision.runs:
        return f"  skip  {decision.stage:16} {decision.why}"
    about = [duration(decision.seconds)] if decision.seconds is not None else []
    about += [size(decision.bytes)] if decision.bytes is not None else []
    return f"  run   {decision.stage:16} {decision.why}" + (f" (about {', '.join(about)})" if about else "")


def _block(cause: BaseException, options: argparse.Namespace) -> str:
    """What, where, expected, got come with the message; the next step always ends it."""
    lines = (str(cause) or type(cause).__name__).splitlines()
    where = f"{options.command}, recipe {options.recipe}" if "recipe" in options else options.command
    shown = [f"error in {where}:", *(f"  {line}" for line in lines)]
    return "\n".join([*shown, "next: mend this and run the same command again; --debug shows where it happened"])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pipeline", description="Distil, freeze, measure and ship a tagger."
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND", dest="command")
    texts = {
        "distill": "train teacher, student and baseline",
        "export": "freeze the student and write the bundle",
        "bench": "measure the bundle and report",
        "report": "write the report of what was measured",
    }
    for name, text in texts.items():
        _recipe_options(_command(commands, name, run_stages, text))
    _recipe_options(_command(commands, "plan", plan))
    _command(commands, "fetch", fetch)
    cleaned = _command(commands, "clean", clean)
    cleaned.add_argument("--recipe", default="scenes", metavar="NAME|FILE")
    return parser


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    run: object,
    text: str | None = None,
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=text or run.__doc__, description=run.__doc__)
    command.set_defaults(run=run)
    command.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return command


def _recipe_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--recipe", default="scenes", metavar="NAME|FILE", help="default: scenes")
    command.add_argument("--data", type=Path, metavar="FOLDER", help="root of the recipe's pictures")
    command.add_argument("--force", action="append", default=[], metavar="STAGE", help="run it again; may be repeated")


if __name__ == "__main__":
    sys.exit(main())
