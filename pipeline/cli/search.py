"""search: find the student of a recipe: time every candidate untrained, distil the best in rungs, and bench three."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cli.options import RUNS, add_recipe_options, devices_of, read_recipe

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.recipe.schema import Recipe


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add_recipe_options(parser)
    parser.add_argument("--plan", action="store_true", help="only print what would run, why and for how long")
    parser.add_argument("--join", action="store_true", help="train beside a search of this recipe that runs already")


def run(options: argparse.Namespace) -> None:
    """Build and time the candidates, train those that keep the budget, print both tables, and bench the finalists."""
    from pipeline.cli import choose, plan, stages
    from pipeline.runner.progress import shown
    from pipeline.runner.speed import Expected
    from pipeline.search import race_stages
    from pipeline.search.finals import folder_of

    recipe = read_recipe(options)
    searching = race_stages.pipeline(recipe, folder_of(recipe, RUNS), options.force, devices_of(options))
    if options.plan:
        plan.print_search(recipe, options)
        return
    if options.join:
        with shown() as progress:
            race_stages.join(recipe, searching, progress(Expected(race_stages.RESULT)))
        return
    with shown() as progress:
        searching.until(race_stages.SCREEN).run(progress)
    _print_screen(recipe, searching.folder)
    with shown() as progress:
        searching.run(progress)
    _print_race(searching.folder)
    stages.run_until(stages.LAST["bench"], argparse.Namespace(**{**vars(options), "force": [], "student": None}))
    limits = dict.fromkeys(("device", "student", "max_p90_ms", "min_map", "max_mb"))
    choose.run(argparse.Namespace(recipe=options.recipe, json=False, **limits))


def _print_screen(recipe: Recipe, folder: Path) -> None:
    """Print the table of all candidates; raises ValueError if none keeps the budget."""
    from pipeline.search.race_stages import SCREEN
    from pipeline.search.rows import check_kept, read_screen
    from pipeline.search.table import table

    assert recipe.search is not None, "without a search there are no stages"
    screen = read_screen(folder / SCREEN)
    _console().print(table(screen.verdicts, list(dict.fromkeys(row.device for row in screen.rows))))
    check_kept(screen.verdicts, recipe.search)
    kept = [verdict for verdict in screen.verdicts if verdict.kept]
    print(f"{len(kept)} of {len(screen.verdicts)} candidates keep the budget; fastest is {kept[0].candidate}")


def _print_race(folder: Path) -> None:
    """Print the table of all that were trained, and who is in the finals."""
    from pipeline.search.finalists import select_finalists
    from pipeline.search.race_rows import read_race
    from pipeline.search.race_stages import RESULT
    from pipeline.search.table import race_table

    race = read_race(folder / RESULT)
    _console().print(race_table(race))
    for candidate, roles in select_finalists(race).items():
        print(f"finalist: {candidate} ({', '.join(roles)})")


def _console() -> Console:
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 200)
