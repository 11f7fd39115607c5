"""compare: train the student with every method and compare them."""

from __future__ import annotations

import argparse

from pipeline.cli.options import RUNS, add_recipe_options, read_recipe


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add_recipe_options(parser)
    parser.add_argument("--methods", nargs="+", metavar="NAME", help="some of the recipe's; default: all")
    parser.add_argument("--seeds", type=int, metavar="N", help="the first N of the recipe's; default: all")


def run(options: argparse.Namespace) -> None:
    """Train the student with every method from the same teacher outputs, and write a page that compares them."""
    from pipeline.compare import runs
    from pipeline.compare.run import compare
    from pipeline.runner.progress import shown

    recipe = read_recipe(options)
    folder = RUNS / recipe.name
    with shown() as progress:
        table = compare(recipe, folder, progress, methods=options.methods, seeds=options.seeds, force=options.force)
    print(f"{folder / runs.FOLDER}/report.html: {'partial, ' + '; '.join(table.missing) if table.partial else 'whole'}")
