"""What the commands share: their parsers, the options of a recipe, and where results lie."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.runner.stage import Pipeline

if TYPE_CHECKING:  # imported where a command needs it: torch takes seconds
    from pipeline.recipe.device_list import DeviceList
    from pipeline.recipe.schema import Recipe

RUNS, DIST = Path("runs"), Path("dist")


def add_recipe_argument(command: argparse.ArgumentParser) -> None:
    """Take the recipe as a positional argument or by --recipe, as other commands do."""
    command.add_argument("recipe", nargs="?", default="scenes", metavar="NAME|FILE", help="default: scenes")
    command.add_argument("--recipe", dest="named", metavar="NAME|FILE", help="the same")


def add_recipe_options(command: argparse.ArgumentParser) -> None:
    """Take a recipe, and everything that changes how its stages run."""
    command.add_argument("--recipe", default="scenes", metavar="NAME|FILE", help="default: scenes")
    command.add_argument("--data", type=Path, metavar="FOLDER", help="root of the recipe's images")
    command.add_argument("--force", action="append", default=[], metavar="STAGE", help="run it again; may be repeated")
    command.add_argument("--devices", type=Path, metavar="FILE", help="devices.yaml: machines over ssh and browsers")
    command.add_argument("--thorough", action="store_true", help="at least 1,024 queries, and ten minutes an engine")


def add_student_option(command: argparse.ArgumentParser) -> None:
    """Take a finalist of a search in place of the student that it has chosen."""
    help_text = "another finalist of the recipe's search, by its role (fastest, knee, best) or its candidate"
    command.add_argument("--student", metavar="NAME", help=help_text)


def read_recipe(options: argparse.Namespace) -> Recipe:
    """Load and check the recipe that the options name."""
    from pipeline.recipe.schema import check, load_recipe

    recipe = load_recipe(options.recipe, options.data)
    check(recipe)
    if not options.thorough:
        return recipe
    from pipeline.report_facts.agreement import find_script

    find_script()  # fails before anything is trained or measured
    return dataclasses.replace(recipe, bench=recipe.bench.thorough())


def find_result(recipe: str, what: str, files: Sequence[Path], command: str) -> Path:
    """Return the first of the files or folders that exists; raises ValueError that names the command to run."""
    for file in files:
        if file.exists():
            return file
    places = " or ".join(map(str, files))
    raise ValueError(f"{recipe}: expected its {what} at {places}, got none; run {command} first")


def devices_of(options: argparse.Namespace) -> DeviceList | None:
    """Read the devices that the options name."""
    from pipeline.recipe.device_list import read_device_list

    return read_device_list(options.devices) if options.devices else None


def pipeline_of(recipe: Recipe, options: argparse.Namespace, finals: Path | None = None) -> Pipeline:
    """Build the stages of a recipe, with the devices that the options name, and the result of its search."""
    from pipeline import stages

    return stages.pipeline(recipe, RUNS / recipe.name, frozenset(options.force), devices_of(options), finals)
