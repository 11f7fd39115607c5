"""clean: remove the results of one recipe."""

from __future__ import annotations

import argparse
import shutil

from pipeline.cli.options import RUNS
from pipeline.recipe.find import find_recipe
from pipeline.runner.session import locked


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("--recipe", default="scenes", metavar="NAME|FILE")


def run(options: argparse.Namespace) -> None:
    """Remove the results of one recipe, its search and their finalists; dist/ stays."""
    from pipeline.search.finalists import ROLES, SEARCH  # numpy takes time

    name = find_recipe(options.recipe).stem
    for folder in (RUNS / name, *(RUNS / f"{name}.{part}" for part in (SEARCH, *ROLES))):
        if folder.is_dir():
            with locked(folder):
                shutil.rmtree(folder)
            print(f"removed {folder}")
