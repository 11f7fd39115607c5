"""Stage bundle: everything that is deployed, with its manifest and golden images."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from export import __version__
from export.backends import Session, score_in_batches
from export.bundle.bundle import EngineEntry, Manifest, Parts, write_bundle
from export.bundle.description import DESCRIPTION, describe
from export.bundle.golden import Golden, choose_golden, write_golden
from export.bundle.sbom import SBOM, list_components
from mlkd.core.files import sha256_of
from mlkd.core.images import PREPROCESSING
from mlkd.core.labels import Labels
from mlkd.data.prepared import read_split
from mlkd.models.checkpoint import load_labels
from pipeline.declarations.export import BUNDLED, content_of
from pipeline.recipe.schema import INT8, Recipe
from pipeline.runner.identity import NOT_INSTALLED, package_version
from pipeline.runner.result import read_json
from pipeline.runner.stage import Context
from pipeline.stages.engines import runtime_of
from pipeline.validation import BATCH

GOLDEN = "golden"
GRAPHS = (".onnx", ".xml")  # what any CPU can run; a TensorRT engine is neither


def run(recipe: Recipe, made_by: str, context: Context) -> None:
    """Write everything that is deployed, with a manifest; not measured yet."""
    data, built = context.inputs["data"], context.inputs["engines"]
    about, tune = read_json(data / "about.json"), read_split(data, "tune")
    engines = read_json(built / "engines.json")["engines"]
    labels = load_labels(context.inputs["student"])
    installed = {name: version for name in BUNDLED if (version := package_version(name)) != NOT_INSTALLED}
    images, expected = write_golden_images(recipe, labels, data, built, engines, context.out / GOLDEN)
    sources = {file.relative_to(built).as_posix(): file for file in sorted((built / "models").glob("*.onnx"))}
    sources |= {path: built / path for facts in engines for path in facts["files"]}
    sources |= {f"{GOLDEN}/{file.name}": file for file in (*images, expected)}
    manifest = Manifest(
        recipe=recipe.name,
        recipe_hash=made_by,
        recipe_content=content_of(recipe),
        labels=labels.names,
        image_px=recipe.student.model.image_px,
        preprocessing=dict(PREPROCESSING),
        composed=about["composed"],
        measured=False,
        provenance=about["provenance"],
        licences=tuple(about["licences"]),
        weights=_weights(recipe),
        versions={"edge-tagger": __version__} | installed,
        tune_images=len(tune),
        tune_positives=tuple(tune.positives.sum(0).tolist()),
        golden=tuple(f"{GOLDEN}/{file.name}" for file in images),
        golden_expected=f"{GOLDEN}/{expected.name}",
        engines=tuple(_entry(facts, built) for facts in engines),
    )
    description = context.out / GOLDEN / DESCRIPTION
    description.write_text(describe(manifest, Golden.read(context.out, manifest)), encoding="utf-8", newline="\n")
    sbom = context.out / GOLDEN / SBOM
    sbom.write_text(list_components(manifest, sources), encoding="utf-8", newline="\n")
    sources |= {DESCRIPTION: description, SBOM: sbom}
    write_bundle(Parts(manifest=manifest, sources=sources), context.out / "bundle")
    shutil.rmtree(context.out / GOLDEN)


def write_golden_images(
    recipe: Recipe, labels: Labels, data: Path, built: Path, engines: Sequence[Mapping[str, Any]], out: Path
) -> tuple[list[Path], Path]:
    """Write a few images of tune, and the scores expected of every engine, to `out`; `engines` lie in `built`.

    Scores of int8 engines are computed in exact arithmetic: what this processor's kernels make of them holds for none
    with another instruction set.  A float engine that cannot run here has the scores of what its thresholds come from.
    """
    tune = read_split(data, "tune")
    with contextlib.ExitStack() as opened:
        sessions = {engine["name"]: opened.enter_context(_open(recipe, engine, built)) for engine in engines}
        pixels, first = tune.pixels(recipe.student.model.image_px), sessions[engines[0]["name"]]
        chosen = choose_golden(tune.files, score_in_batches(first, pixels, BATCH), recipe.export.golden_images)
        files = [tune.files[row] for row in chosen]
        if not files:
            raise ValueError(
                f"golden images: expected at least one readable image among the {len(tune)} of tune, got none; "
                f"the first is {tune.files[0]}: restore the images and rerun the command"
            )
        thresholds = {engine["name"]: engine["thresholds"] for engine in engines}
        return write_golden(
            files, recipe.student.model.image_px, out, sessions, labels=labels.names, thresholds=thresholds
        )


def _open(recipe: Recipe, engine: Mapping[str, Any], built: Path) -> Session:
    scored = built / engine["thresholds_of"]
    if engine["precision"] in INT8:
        graph = scored if scored.suffix in GRAPHS else built / engine["graph"]
        return runtime_of(graph).open_exact(graph)
    if engine["not_run"] is None:
        backend = next(one.backend for one in recipe.export.engines if one.name == engine["name"])
        return backend.open(built / engine["files"][0])
    return runtime_of(scored).open_graph(scored)


def _entry(facts: Mapping[str, Any], built: Path) -> EngineEntry:
    same = ("name", "backend", "precision", "graph", "thresholds_from", "tune_map", "meant_for", "judged_in")
    listed = ("files", "thresholds", "expected_precision", "expected_recall", "tune_ap")
    known: dict[str, Any] = {name: facts[name] for name in same} | {name: tuple(facts[name]) for name in listed}
    return EngineEntry(**known, file=facts["files"][0], thresholds_sha256=sha256_of(built / facts["thresholds_of"]))


def _weights(recipe: Recipe) -> tuple[str, ...]:
    """Describe the pretrained weights of student and teacher, with their licences."""
    models = {"student": recipe.student, **({"teacher": recipe.teacher} if recipe.teacher else {})}
    texts = []
    for name, trained in models.items():
        licence = trained.model.weights.licence(trained.model.backbone)
        texts.append(f"{name}: {licence or f'{trained.model.backbone}, from random weights'}")
    return (*texts, *(f"teacher: pretrained, {ready.kind}, under its own licence" for ready in recipe.ready_teachers))
