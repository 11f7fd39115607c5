"""search: time every candidate of the recipe's search before anything is trained."""

from __future__ import annotations

import argparse
import sys

from pipeline.cli.options import RUNS, add_recipe_options, read_recipe


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add_recipe_options(parser)
    parser.add_argument("--plan", action="store_true", help="only print what would run, why and for how long")


def run(options: argparse.Namespace) -> None:
    """Build and time the candidates, and print which of them keep the budget."""
    from rich.console import Console

    from pipeline.cli.plan import format_decisions, format_total
    from pipeline.recipe.device_list import read_device_list
    from pipeline.runner.progress import shown
    from pipeline.search import stages
    from pipeline.search.rows import check_kept, read_screen
    from pipeline.search.table import table

    recipe = read_recipe(options)
    listed = read_device_list(options.devices) if options.devices else None
    pipeline = stages.pipeline(recipe, RUNS / recipe.name, options.force, listed)
    if options.plan:
        decisions = pipeline.plan()
        print("\n".join([*format_decisions(decisions), format_total(decisions)]))
        return
    with shown() as progress:
        pipeline.run(progress)
    assert recipe.search is not None, "without a search there are no stages"
    screen = read_screen(pipeline.folder / stages.RESULT)
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(table(screen.verdicts, list(dict.fromkeys(row.device for row in screen.rows))))
    check_kept(screen.verdicts, recipe.search)
    kept = [verdict for verdict in screen.verdicts if verdict.kept]
    print(
        f"{len(kept)} of {len(screen.verdicts)} candidates keep the budget; fastest is {kept[0].candidate}. "
        "Next: set student.model in the recipe to one of them, and run distill, export, bench"
    )
