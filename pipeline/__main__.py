"""The command line: from distill to ship."""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cli import ship, signing
from pipeline.init import options as told
from pipeline.runner import ranks

if TYPE_CHECKING:  # the real imports wait until a command needs them: torch takes seconds
    from pipeline.recipe.schema import Recipe
    from pipeline.runner.stage import Decision, Line

OK, USER_ERROR, INTERRUPTED = 0, 2, 130
RUNS, DIST = Path("runs"), Path("dist")
TARGETS = {"distill": ("student", "baseline"), "export": ("references",), "bench": ("report",), "report": ("report",)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 when it is done, 1 if some devices failed, 2 for what the user can mend, 130 interrupted."""
    options = _parser().parse_args(arguments)
    options.recipe = getattr(options, "named", None) or getattr(options, "recipe", None)
    try:
        if options.run is not run_stages:
            ranks.refuse_several(options.command)
        code: int | None = options.run(options)
    except KeyboardInterrupt:
        if ranks.is_first():
            print("\nstopped: finished stages and epochs are kept, the same command goes on", file=sys.stderr)
        return INTERRUPTED
    except (ValueError, OSError, RuntimeError, ImportError) as cause:
        if options.debug:
            raise
        print(_block(cause, options), file=sys.stderr)
        return USER_ERROR
    return code or OK


def run_stages(options: argparse.Namespace) -> None:
    """Run what the command needs and has not finished."""
    from pipeline import stages, teachers
    from pipeline.runner.progress import shown

    recipe = _recipe(options)
    line = _line(recipe, options).until(*TARGETS[options.command])
    if not ranks.is_first():
        line.run()
        return
    with shown() as progress:
        stages.fetch_if_needed(recipe, line, progress)
        line.run(progress)
        teachers.tell(teachers.select_maps(recipe, line.folder))
        if options.command != "distill":
            stages.publish(line.folder, DIST / recipe.name)


def compare(options: argparse.Namespace) -> None:
    """Train the student with every method from the same teacher outputs, and write a page that tells them apart."""
    from pipeline.compare import run, runs
    from pipeline.runner.progress import shown

    recipe = _recipe(options)
    folder = RUNS / recipe.name
    with shown() as progress:
        table = run.compare(recipe, folder, progress, methods=options.methods, seeds=options.seeds, force=options.force)
    print(f"{folder / runs.FOLDER}/report.html: {'partial, ' + '; '.join(table.missing) if table.partial else 'whole'}")


def plan(options: argparse.Namespace) -> None:
    """Say what would run, why, for about how long, and what the two nets cost."""
    from pipeline.cli import costs
    from pipeline.runner.stage import duration, size

    recipe = _recipe(options)
    line = _line(recipe, options)
    decisions = line.plan()
    for decision in decisions:
        print(_plan_line(decision))
    read = any(decision.stage == "data" and not decision.runs for decision in decisions)
    for text in costs.lines(recipe, line.folder / "data" if read else None):
        print(text)
    waiting = [decision for decision in decisions if decision.runs]
    known, unknown = (
        [decision for decision in waiting if (decision.seconds is None) is missing] for missing in (False, True)
    )
    totals = []
    if known:
        totals = [f"about {duration(sum(d.seconds or 0 for d in known))}, {size(sum(d.bytes or 0 for d in known))}"]
    if unknown:
        totals += [f"no estimate for {', '.join(decision.stage for decision in unknown)}"]
    print("; ".join(totals) or "nothing to do")


def doctor(options: argparse.Namespace) -> None:
    """Say why int8 engines are no faster than float, and whether this CPU computes them right."""
    from pipeline.cli import doctor as doctoring

    doctoring.doctor(options.recipe, RUNS, DIST, options.json)


def init(options: argparse.Namespace) -> None:
    """Look at a folder of your images, say what is understood, and write a recipe for it."""
    from pipeline.init import draft

    draft.init(options.folder, told.read_options(options), options.out, force=options.force, look=options.look)


def fetch(_: argparse.Namespace) -> None:
    """Fetch the pictures that the default recipe composes, for a machine that goes offline."""
    from pipeline import stages
    from pipeline.runner.progress import shown

    with shown() as progress:
        stages.fetch(progress)


def clean(options: argparse.Namespace) -> None:
    """Remove the results of one recipe; what is in dist/ stays."""
    from pipeline.recipe.schema import find_recipe
    from pipeline.runner.session import locked

    folder = RUNS / find_recipe(options.recipe).stem
    if folder.is_dir():
        with locked(folder):
            shutil.rmtree(folder)
    print(f"removed {folder}")


def choose(options: argparse.Namespace) -> None:
    """Say which engine to ship within limits, why, and the runner-up."""
    from pipeline.cli import choose as choosing

    limits = {name: getattr(options, name) for name in ("max_p90_ms", "min_map", "max_mb")}
    choosing.choose(options.recipe, RUNS, DIST, device=options.device, as_json=options.json, **limits)


def _recipe(options: argparse.Namespace) -> Recipe:
    from pipeline.recipe.schema import check, load_recipe

    recipe = load_recipe(options.recipe, options.data)
    check(recipe)
    if not options.thorough:
        return recipe
    from pipeline.stages.agreement import find_script

    find_script()  # fails before anything is trained or measured
    return dataclasses.replace(recipe, bench=recipe.bench.thorough())


def _line(recipe: Recipe, options: argparse.Namespace) -> Line:
    from pipeline import stages
    from pipeline.stages.devices import read_shelf

    shelf = read_shelf(options.devices) if options.devices else None
    return stages.line(recipe, RUNS / recipe.name, frozenset(options.force), shelf)


def _plan_line(decision: Decision) -> str:
    from pipeline.runner.stage import duration, size

    if not decision.runs:
        return f"  skip  {decision.stage:16} {decision.why}"
    about = [duration(decision.seconds)] if decision.seconds is not None else []
    about += [size(decision.bytes)] if decision.bytes is not None else []
    return f"  run   {decision.stage:16} {decision.why}" + (f" (about {', '.join(about)})" if about else "")


def _block(cause: BaseException, options: argparse.Namespace) -> str:
    """What, where, expected, got come with the message; the next step always ends it."""
    lines = (str(cause) or type(cause).__name__).splitlines()
    where = f"{options.command}, recipe {options.recipe}" if options.recipe else options.command
    shown = [f"error in {where}{ranks.place()}:", *(f"  {line}" for line in lines)]
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
    compared = _command(commands, "compare", compare, "train the student with every method and compare them")
    _recipe_options(compared)
    compared.add_argument("--methods", nargs="+", metavar="NAME", help="some of the recipe's; default: all")
    compared.add_argument("--seeds", type=int, metavar="N", help="the first N of the recipe's; default: all")
    _recipe_options(_command(commands, "plan", plan))
    examined = _command(commands, "doctor", doctor)
    _recipe_argument(examined)
    examined.add_argument("--json", type=Path, metavar="FILE", help="write the findings there as well")
    chosen = _command(commands, "choose", choose)
    _recipe_argument(chosen)
    chosen.add_argument("--device", metavar="NAME", help="default: the machine that ran the bench")
    chosen.add_argument("--max-p90-ms", type=float, metavar="MS", help="end to end")
    chosen.add_argument("--min-map", type=float, metavar="MAP", help="0 to 100")
    chosen.add_argument("--max-mb", type=float, metavar="MB", help="of the engine's files")
    chosen.add_argument("--json", action="store_true", help="one JSON object")
    first = _command(commands, "init", init)
    first.add_argument("folder", type=Path, metavar="FOLDER", help="images, and a table that says their tags")
    first.add_argument("--out", type=Path, metavar="FILE", help="the recipe to write; default: FOLDER's name.yaml")
    first.add_argument("--force", action="store_true", help="replace a recipe that this command wrote")
    first.add_argument("--look", action="store_true", help="print everything and write nothing")
    told.add_options(first)
    for part in (signing, ship):
        part.add(partial(_command, commands), DIST)
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


def _recipe_argument(command: argparse.ArgumentParser) -> None:
    """The recipe by its place or by --recipe, as other commands take it."""
    command.add_argument("recipe", nargs="?", default="scenes", metavar="NAME|FILE", help="default: scenes")
    command.add_argument("--recipe", dest="named", metavar="NAME|FILE", help="the same")


def _recipe_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--recipe", default="scenes", metavar="NAME|FILE", help="default: scenes")
    command.add_argument("--data", type=Path, metavar="FOLDER", help="root of the recipe's pictures")
    command.add_argument("--force", action="append", default=[], metavar="STAGE", help="run it again; may be repeated")
    command.add_argument("--devices", type=Path, metavar="FILE", help="devices.yaml: where else to measure, over ssh")
    command.add_argument("--thorough", action="store_true", help="at least 1,024 queries, and ten minutes an engine")


if __name__ == "__main__":
    sys.exit(main())
