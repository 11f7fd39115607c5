"""clean: remove the results of one recipe, or of all."""

from __future__ import annotations

import argparse
import shutil
from contextlib import ExitStack
from pathlib import Path

from pipeline.cli.options import RUNS
from pipeline.recipe.find import find_recipe
from pipeline.runner.session import LOCK, locked


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--recipe", default="scenes", metavar="NAME|FILE")
    which.add_argument("--all", action="store_true", help="the results of every recipe")


def run(options: argparse.Namespace) -> None:
    """Remove the results of one recipe, its search and their finalists, or all results; dist/ stays.

    Raises ValueError, before anything is removed, if a run is in progress.
    """
    if options.all:
        _remove([lock.parent for lock in RUNS.glob(f"*/{LOCK}")], [RUNS])
        return
    from pipeline.search.finalists import ROLES, SEARCH  # numpy takes time

    name = find_recipe(options.recipe).stem
    folders = [RUNS / name, *(RUNS / f"{name}.{part}" for part in (SEARCH, *ROLES))]
    _remove(folders, folders)


def _remove(to_lock: list[Path], to_remove: list[Path]) -> None:
    with ExitStack() as stack:
        for folder in filter(Path.is_dir, to_lock):
            stack.enter_context(locked(folder))
        for folder in filter(Path.is_dir, to_remove):
            shutil.rmtree(folder)
            print(f"removed {folder}")
