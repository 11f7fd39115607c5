"""search: time every candidate of the recipe's search untrained, and distil those that keep the budget in rungs."""

from __future__ import annotations

import argparse
import sys

from pipeline.cli.options import RUNS, add_recipe_options, read_recipe


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add_recipe_options(parser)
    parser.add_argument("--plan", action="store_true", help="only print what would run, why and for how long")
    parser.add_argument("--join", action="store_true", help="train beside a search of this recipe that runs already")


def run(options: argparse.Namespace) -> None:
    """Build and time the candidates, train those that keep the budget, and print both tables."""
    from rich.console import Console

    from pipeline.cli.plan import format_decisions, format_total
    from pipeline.recipe.device_list import read_device_list
    from pipeline.runner.progress import shown
    from pipeline.runner.speed import Expected
    from pipeline.search import race_stages
    from pipeline.search.race_rows import read_race
    from pipeline.search.rows import check_kept, read_screen
    from pipeline.search.stages import RESULT
    from pipeline.search.table import race_table, table

    recipe = read_recipe(options)
    listed = read_device_list(options.devices) if options.devices else None
    pipeline = race_stages.pipeline(recipe, RUNS / recipe.name, options.force, listed)
    if options.plan:
        decisions = pipeline.plan()
        print("\n".join([*format_decisions(decisions), format_total(decisions)]))
        return
    if options.join:
        with shown() as progress:
            race_stages.join(recipe, pipeline, progress(Expected(race_stages.RESULT)))
        return
    assert recipe.search is not None, "without a search there are no stages"
    console = Console(width=None if sys.stdout.isatty() else 200)
    with shown() as progress:
        pipeline.until(RESULT).run(progress)
    screen = read_screen(pipeline.folder / RESULT)
    console.print(table(screen.verdicts, list(dict.fromkeys(row.device for row in screen.rows))))
    check_kept(screen.verdicts, recipe.search)
    kept = [verdict for verdict in screen.verdicts if verdict.kept]
    print(f"{len(kept)} of {len(screen.verdicts)} candidates keep the budget; fastest is {kept[0].candidate}")
    with shown() as progress:
        pipeline.run(progress)
    race = read_race(pipeline.folder / race_stages.RESULT)
    console.print(race_table(race))
    print(
        f"First of the race is {race.ranking[0]}. Next: set student.model in the recipe to it, and run distill, "
        "export, bench"
    )
