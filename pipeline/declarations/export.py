"""Declarations of the stages of `export`: onnx, precisions, engines, bundle, references, and scores of a finalist."""

from __future__ import annotations

from typing import Any

from benchmarks.device import machine
from export.bundle import program
from pipeline import teachers
from pipeline.declarations import body
from pipeline.recipe.reference_engines import select_engines
from pipeline.recipe.schema import Recipe
from pipeline.runner.identity import plain
from pipeline.runner.speed import Work
from pipeline.runner.stage import Stage

BUNDLED = ("torch", "timm", "onnx", "onnxruntime-gpu", "openvino", "nncf", "tensorrt-rtx-cu13", "numpy", "pillow")


def onnx(recipe: Recipe, made_by: str) -> Stage:
    """`made_by` is the hash of what the student was trained from."""
    return Stage(
        name="onnx",
        run=body("onnx", recipe, made_by),
        reads=("data", "student"),
        version=5,  # one mean and one std where the channels have equal ones
        config={"recipe": made_by, "parity": recipe.export.parity.fp32},
        packages=("torch", "timm", "onnx", "onnxscript", "onnxruntime-gpu"),
    )


def precisions(recipe: Recipe) -> Stage:
    budget = recipe.export.budget
    return Stage(
        name="precisions",
        run=body("precisions", recipe),
        version=4,  # calibrators are tried until one meets the budget
        reads=("data", "onnx"),
        config={
            "precisions": sorted({engine.precision for engine in recipe.export.engines}),
            "calibration_images": recipe.export.calibration_images,
            "budget": {name: getattr(budget, name) for name in ("keep", "float_layers", "images")},
            "seed": recipe.seed,
        },
        packages=("onnx", "onnxruntime-gpu", "openvino", "nncf"),
    )


def engines(recipe: Recipe) -> Stage:
    export = recipe.export
    return Stage(
        name="engines",
        run=body("engines", recipe),
        reads=("data", "onnx", "precisions"),
        version=7,  # scored with a thread on each core
        config={
            "engines": export.engines,
            "parity": export.parity,
            "thresholds": export.thresholds,
            "allow": export.budget.allow,
            "seed": recipe.seed,
        },
        packages=("onnxruntime-gpu", "openvino", "tensorrt-rtx-cu13"),
    )


def bundle(recipe: Recipe, made_by: str) -> Stage:
    """The program that is put into the bundle is part of the stage's identity."""
    return Stage(
        name="bundle",
        run=body("bundle", recipe, made_by),
        reads=("data", "student", "onnx", "engines"),
        version=7,  # sbom.cdx.json
        config={"hash": made_by, "content": content_of(recipe)},
        packages=BUNDLED,
        outside=lambda: {"program": program.digest()},
    )


def content_of(recipe: Recipe) -> dict[str, Any]:
    """Return the part of the recipe that the bundle was made from, without paths, for the manifest."""
    content = plain(recipe, published=True)
    return {name: value for name, value in content.items() if name not in ("bench", "compare", "search")}


def references(recipe: Recipe) -> Stage:
    """Its bundles contain the program of the deployed one."""
    return Stage(
        name="references",
        run=body("references", recipe),
        reads=("data", *teachers.reads(recipe), "student", "baseline", "precisions", "bundle"),
        version=5,  # likewise
        config={
            "engines": select_engines(recipe),
            "all": recipe.bench.all_references,
            "torch_compile": recipe.bench.torch_compile,
            "thresholds": recipe.export.thresholds,
            **teachers.ready(recipe),
        },
        packages=("torch", "timm", "onnx", "onnxscript", "onnxruntime-gpu", "openvino", "nncf"),
        outside=lambda: {**machine.identity(), **teachers.hashes(recipe)},
    )


def scores(recipe: Recipe) -> Stage:
    """Of a finalist of a search, in place of references: those are measured with the chosen student."""
    return Stage(
        name="scores",
        run=body("scores", recipe),
        reads=("data", "student", "baseline"),
        config={"thresholds": recipe.export.thresholds},
        packages=("torch", "timm", "numpy"),
        outside=machine.identity,
        work=Work(unit_s=30.0, bytes=2_000_000),
    )
