"""distill, export, bench and report: run the stages that the command needs and has not finished."""

from __future__ import annotations

import argparse
from pathlib import Path

from export.bundle import bundle as bundles
from export.errors import BundleError
from mlkd.core.files import write_file
from pipeline.cli.options import DIST, add_recipe_options, pipeline_of, read_recipe
from pipeline.runner import ranks, result

LAST = {  # the last stages of each command
    "distill": ("student", "baseline"),
    "export": ("references",),
    "bench": ("report",),
    "report": ("report",),
}


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options of a command that runs stages."""
    add_recipe_options(parser)


def run(options: argparse.Namespace) -> None:
    """Run what the command needs and has not finished."""
    from pipeline import teachers
    from pipeline.runner.progress import shown

    recipe = read_recipe(options)
    pipeline = pipeline_of(recipe, options).until(*LAST[options.command])
    if not ranks.is_first():
        pipeline.run()
        return
    with shown() as progress:
        pipeline.run(progress)
        teachers.log_maps(teachers.select_maps(recipe, pipeline.folder))
        if options.command != "distill":
            publish(pipeline.folder, DIST / recipe.name)


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
