"""The line: data → teacher → teacher_outputs → student, baseline → onnx → precisions → engines → bundle → references →
bench → devices → report.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import export.bundle.bundle
from export.bundle import program
from mlkd.core import files
from mlkd.data import Source
from mlkd.data.scenes.fetch import fetch as fetch_pictures
from mlkd.models.weight_packages import PACKAGES
from pipeline import teachers
from pipeline.recipe.schema import Recipe
from pipeline.runner import result
from pipeline.runner.identity import plain
from pipeline.runner.stage import Line, Stage
from pipeline.stages import distill, engines, freezing, precisions
from pipeline.stages.devices import Shelf
from pipeline.stages.measuring_stages import measuring_stages

LEARNING = ("torch", "torchvision", "timm", "accelerate", "numpy", *PACKAGES)
QUANTISERS = ("onnx", "onnxruntime-gpu", "openvino", "nncf")
LOGS = ("history.json", "*tfevents*", "last.safetensors")  # no later stage's numbers depend on them


def line(recipe: Recipe, folder: Path, force: frozenset[str] = frozenset(), shelf: Shelf | None = None) -> Line:
    """All stages of a recipe; its results go to `folder`.  What is measured on the devices of a `shelf` joins them."""
    stages = (*_distilling(recipe, folder), *_freezing(recipe), *measuring_stages(recipe, folder, shelf))
    known = {stage.name for stage in stages} | {"teacher"}  # a recipe may extend one that has it
    minutes = recipe.estimates
    for name in minutes.keys() - known:
        raise ValueError(f"minutes.{name}: expected one of {', '.join(sorted(known))}, got {name!r}; correct the name")
    timed = (_with_estimate(stage, minutes.get(stage.name)) for stage in stages)
    return Line(tuple(timed), folder, force)


def _distilling(recipe: Recipe, folder: Path) -> tuple[Stage, ...]:
    student = recipe.student
    common = {"views": recipe.views, "seed": recipe.seed}
    live = _live(recipe)
    return (
        Stage(
            name="data",
            run=partial(distill.data, recipe),
            config={"source": recipe.data, "sizes": teachers.sizes(recipe)},
            packages=("numpy", "pillow", "pillow-heif"),
            version=6,  # notes apart from problems; names without suffix for every kind of image
            outside=partial(_fingerprint, recipe.data, folder),
        ),
        *_teacher(recipe, common),
        Stage(
            name="teacher_outputs",
            run=partial(distill.teacher_outputs, recipe),
            reads=("data", *teachers.reads(recipe)),
            config={**common, **teachers.ready(recipe)},
            version=2,
            packages=(*LEARNING, *(["onnxruntime-gpu"] if recipe.ready_teachers else [])),
            outside=partial(teachers.hashes, recipe),
        ),
        Stage(
            name="student",
            run=partial(distill.student, recipe),
            reads=("data", *live, "teacher_outputs"),
            config={**plain(student), "seed": recipe.seed},
            version=4 if live else 3,  # losses on embeddings see no dropout
            packages=LEARNING,
            volatile=LOGS,
            outside=partial(teachers.first_weights, student.model),
            distributed=True,
        ),
        Stage(
            name="baseline",
            run=partial(distill.baseline, recipe),
            reads=("data",),
            config={"model": student.model, "training": recipe.baseline, **common},
            version=2,
            packages=LEARNING,
            volatile=LOGS,
            outside=partial(teachers.first_weights, student.model),
            distributed=True,
        ),
    )


def _teacher(recipe: Recipe, common: Mapping[str, Any]) -> tuple[Stage, ...]:
    """Nothing where only ready teachers teach."""
    if recipe.teacher is None:
        return ()
    stage = Stage(
        name="teacher",
        run=partial(distill.teacher, recipe),
        reads=("data",),
        config={**plain(recipe.teacher), **common},
        version=2,
        packages=LEARNING,
        volatile=LOGS,
        outside=partial(teachers.first_weights, recipe.teacher.model),
        distributed=True,
    )
    return (stage,)


def _live(recipe: Recipe) -> tuple[str, ...]:
    """The stages of teachers that run along as the student trains."""
    return teachers.reads(recipe) if "features" in recipe.student.training.needs else ()


def _freezing(recipe: Recipe) -> tuple[Stage, ...]:
    made_by, budget = recipe_hash(recipe), recipe.export.budget
    return (
        Stage(
            name="onnx",
            run=partial(freezing.onnx, recipe, made_by),
            reads=("data", "student"),
            version=4,
            config={"recipe": made_by, "parity": recipe.export.parity.fp32},
            packages=("torch", "timm", "onnx", "onnxscript", "onnxruntime-gpu"),
        ),
        Stage(
            name="precisions",
            run=partial(precisions.precisions, recipe),
            version=3,  # exact arithmetic, 7-bit weights for x86, a gate with an interval
            reads=("data", "onnx"),
            config={
                "precisions": sorted({engine.precision for engine in recipe.export.engines}),
                "calibration_pictures": recipe.export.calibration_pictures,
                "budget": {name: getattr(budget, name) for name in ("keep", "float_layers", "pictures")},
                "seed": recipe.seed,
            },
            packages=QUANTISERS,
        ),
        Stage(
            name="engines",
            run=partial(engines.engines, recipe),
            reads=("data", "onnx", "precisions"),
            version=6,  # int8 results without quantization-aware training
            config={
                "engines": recipe.export.engines,
                "parity": recipe.export.parity,
                "thresholds": recipe.export.thresholds,
                "allow": budget.allow,
                "seed": recipe.seed,
            },
            packages=("onnxruntime-gpu", "openvino", "tensorrt-rtx-cu13"),
        ),
        Stage(
            name="bundle",
            run=partial(freezing.bundle, recipe, made_by),
            reads=("data", "student", "onnx", "engines"),
            version=4,
            config={"hash": made_by, "content": freezing.content_of(recipe)},
            packages=freezing.PACKAGES,
            outside=lambda: {"program": program.digest()},
        ),
    )


def recipe_hash(recipe: Recipe) -> str:
    """Identity of what the student was made from; where the pictures lie does not matter."""
    parts = {name: getattr(recipe, name) for name in ("name", "seed", "views", "teacher", "student")}
    source = {
        entry.name: value
        for entry in dataclasses.fields(recipe.data)
        if not isinstance(value := getattr(recipe.data, entry.name), Path)
    }
    return result.digest(plain({**parts, "data": source, **teachers.ready(recipe), **teachers.hashes(recipe)}))


def fetch_if_needed(recipe: Recipe, line: Line, progress: Callable[[Stage], Any]) -> None:
    """Fetch the pictures that the data stage would compose, if it is going to run."""
    data = line.until("data")
    if recipe.data.needs_fetch() and data.plan()[0].runs:
        fetch_pictures(progress(dataclasses.replace(data.stages[0], name="fetch")))


def fetch(progress: Callable[[Stage], Any]) -> None:
    """Fetch the pictures of the default recipe."""
    fetch_pictures(progress(Stage(name="fetch", run=lambda _: None)))


def publish(folder: Path, dist: Path) -> None:
    """Put the newest bundle at `dist`, the measured one if it holds today's engines; an equal whole one stays."""
    report, bundle = result.read(folder / "report"), result.read(folder / "bundle")
    assert bundle is not None, "export ends with a bundle"
    measured = report is not None and report.identity["reads"]["bundle"] == bundle.content
    newest = folder / ("report" if measured else "bundle") / "bundle"
    export.bundle.bundle.recover(dist)
    equal = _equal(newest / export.bundle.bundle.DIGEST, dist / export.bundle.bundle.DIGEST)
    if not (equal and _is_whole(dist)):
        signature = dist / export.bundle.bundle.SIGNATURE
        signed = signature.read_bytes() if signature.is_file() else None
        export.bundle.bundle.publish(newest, dist)
        if signed is not None and equal:
            files.write(signature, signed)
        elif signed is not None:
            print(f"{dist}: another bundle than the one that was signed; python -m pipeline sign {folder.name}")
    print(f"{dist}: the bundle of {folder.name}, {'measured' if measured else 'not measured'}")


def _is_whole(bundle: Path) -> bool:
    try:
        export.bundle.bundle.read_bundle(bundle)
    except export.bundle.bundle.BundleError:
        return False
    return True


def _equal(first: Path, second: Path) -> bool:
    return second.is_file() and first.read_bytes() == second.read_bytes()


def _fingerprint(source: Source, folder: Path) -> Mapping[str, Any]:
    """What the source reads; if the fetched pictures are gone, as it was when the data stage read them."""
    try:
        return {"pictures": source.fingerprint()}
    except ValueError:
        before = result.read(folder / "data")
        if not source.needs_fetch():
            raise
        return before.identity["outside"] if before else {"pictures": "not fetched yet"}


def _with_estimate(stage: Stage, minutes: float | None) -> Stage:
    return stage if minutes is None else dataclasses.replace(stage, seconds=60 * minutes)
