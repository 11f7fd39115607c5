"""distill, export, bench and report: run the stages that the command needs and has not finished."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from export.bundle import bundle as bundles
from export.errors import BundleError
from mlkd.core.files import write_file
from mlkd.core.progress import Progress, silent
from pipeline.cli.options import (
    DIST,
    RUNS,
    add_recipe_options,
    add_student_option,
    devices_of,
    pipeline_of,
    read_recipe,
)
from pipeline.runner import ranks, result
from pipeline.runner.speed import Expected
from pipeline.runner.stage import Pipeline

if TYPE_CHECKING:
    from pipeline.recipe.schema import Recipe

LAST = {  # the last stages of each command
    "distill": ("student", "baseline"),
    "export": ("references",),
    "bench": ("report",),
    "report": ("report",),
}


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options of a command that runs stages."""
    add_recipe_options(parser)
    add_student_option(parser)


def run(options: argparse.Namespace) -> None:
    """Run what the command needs and has not finished."""
    run_until(LAST[options.command], options)


def run_until(last: tuple[str, ...], options: argparse.Namespace) -> None:
    """Run what these stages need and have not finished; for a recipe with a search that first, and its finals."""
    from pipeline import teachers
    from pipeline.runner.progress import shown

    recipe = read_recipe(options)
    with shown() if ranks.is_first() else nullcontext(lambda _: silent) as progress:
        recipe, pipeline = _found(recipe, last, options, progress)
        pipeline.run(progress)
        if not ranks.is_first():
            return
        teachers.log_maps(teachers.select_maps(recipe, pipeline.folder))
        if last != LAST["distill"]:
            publish(pipeline.folder, DIST / recipe.name)


def _found(
    recipe: Recipe, last: tuple[str, ...], options: argparse.Namespace, show: Callable[[Expected], Progress]
) -> tuple[Recipe, Pipeline]:
    """The recipe with the student that its search has found, and the stages that are to run."""
    finals = None
    if options.student or recipe.search is not None:
        from pipeline.search import finals as searching

        if options.student:
            recipe = searching.with_student(recipe, RUNS, devices_of(options), options.student)
        else:
            exported = last != LAST["distill"]
            recipe, finals = searching.run(recipe, RUNS, devices_of(options), show, exported=exported)
    return recipe, pipeline_of(recipe, options, finals).until(*last)


def publish(folder: Path, dist: Path) -> None:
    """Put the newest bundle at `dist`, the measured one if it holds today's engines; an equal whole one stays."""
    report, bundle = result.read(folder / "report"), result.read(folder / "bundle")
    assert bundle is not None, "export ends with a bundle"
    measured = report is not None and report.identity["reads"]["bundle"] == bundle.content
    newest = folder / ("report" if measured else "bundle") / "bundle"
    bundles.recover(dist)
    digest = dist / bundles.DIGEST
    equal = digest.is_file() and digest.read_bytes() == (newest / bundles.DIGEST).read_bytes()
    if not (equal and _is_whole(dist)):
        signature = dist / bundles.SIGNATURE
        signed = signature.read_bytes() if signature.is_file() else None
        bundles.publish(newest, dist)
        if signed is not None and equal:
            write_file(signature, signed)
        elif signed is not None:
            print(f"{dist}: another bundle than the one that was signed; python -m pipeline sign {folder.name}")
    print(f"{dist}: the bundle of {folder.name}, {'measured' if measured else 'not measured'}")


def _is_whole(bundle: Path) -> bool:
    try:
        bundles.read_bundle(bundle)
    except BundleError:
        return False
    return True
