"""The stage references: the teacher and the no-teacher student, frozen as the student is, to be timed beside it."""

from __future__ import annotations

import dataclasses
import json
import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from benchmarks import machine
from benchmarks.accuracy import Truth
from benchmarks.devices import DeviceEntry, Local
from benchmarks.program import ProcessFailedError
from benchmarks.rows import ROW
from benchmarks.run import Job, score
from benchmarks.subjects import Bundle, Candidate, Float, Scored, Subject, of_bundle
from export.backends import OnnxRuntime, OpenVino
from export.bundle import MANIFEST, PROGRAM, EngineEntry, Manifest, Parts, read_bundle, write_bundle
from export.precision.int8 import int8
from export.precision.int8_openvino import int8_openvino
from export.precision.int8_x86 import int8_x86
from export.to_onnx import to_onnx
from mlkd.checkpoint import load_labels, load_model
from mlkd.data.prepared import Split, read_split
from mlkd.metrics import tune_thresholds
from pipeline import anchors, floats, teaching
from pipeline.precisions import CALIBRATION
from pipeline.recipe import INT8, Engine, Recipe
from pipeline.result import read_json
from pipeline.stage import Context, Stage
from pipeline.validation import BATCH

log = logging.getLogger(__name__)

T = TypeVar("T")
HERE = "this machine"
FACTS, LONGEST = "references.json", 300
MAKERS = {"int8": int8, "int8_x86": int8_x86, "int8_openvino": int8_openvino}
NOTE = (
    "The references' int8 graphs have their ranges from the pictures that calibrated the student's, by one method "
    "(min_max in Q/DQ graphs, NNCF's own in OpenVINO's): no other was tried, no layer left in float, nothing trained."
)
Graphs = Mapping[str, Path | str]  # by precision: its file, or why there is none


def stage(recipe: Recipe) -> Stage:
    """For the line; its bundles bring the program of the one that ships."""
    return Stage(
        name="references",
        run=partial(references, recipe),
        reads=("data", *teaching.reads(recipe), "student", "baseline", "precisions", "bundle"),
        config={"engines": _engines(recipe), "torch_compile": recipe.bench.torch_compile, **teaching.ready(recipe)},
        packages=("torch", "timm", "onnx", "onnxscript", "onnxruntime-gpu", "openvino", "nncf"),
        outside=lambda: {**machine.identity(), **teaching.hashes(recipe)},
    )


def references(recipe: Recipe, context: Context) -> None:
    """What the nets in float and their engines say of the test set; a bundle for each net in a folder of its name.

    The teacher's only where it is one net of ours.  A device need not score what does not ship.

    What cannot be exported, rounded to int8 or compiled is told in FACTS with its reason.
    """
    floats.write(recipe, context)
    nets = _nets(recipe, context.inputs)
    failed = []
    for done, (net, folder) in enumerate(nets.items()):
        context.progress("references", done, len(nets))
        for engine, reason in _freeze(recipe, context, net, folder).items():
            log.warning("references: %s-%s is left out: %s", net, engine.name, reason)
            why = {"runtime": engine.backend.kind, "precision": engine.precision, "reason": reason}
            failed.append({"model": net, "name": f"{net}-{engine.name}", **why})
    context.progress("references", len(nets), len(nets))
    rounded = any(engine.precision in INT8 for engine in _engines(recipe))
    found = _score(recipe, context)
    if recipe.bench.torch_compile:
        _compile(recipe, context)
    told: dict[str, Any] = {"device": found.device, "instruction_set": found.instruction_set, "told": dict(found.told)}
    facts = {"failed": failed, "notes": [NOTE] if rounded else [], "scored": told}
    (context.out / FACTS).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def scored(folder: Path) -> Scored:
    """What the engines of the references say of the test set, from the folder of this stage."""
    return Scored(folder=folder / "scores", **read_json(folder / FACTS)["scored"])


def _score(recipe: Recipe, context: Context) -> Scored:
    """Of every engine that was made, by its own program on this machine."""
    test, here = read_split(context.inputs["data"], "test"), machine.describe()
    (context.out / "scores").mkdir(exist_ok=True)
    with closing(Local(DeviceEntry(name=HERE))) as device:
        bundles = [Bundle(path.parent, path.parent.name, "reference") for path in context.out.glob(f"*/{MANIFEST}")]
        subjects = [of_bundle(one, device.place(one.folder), {}, device=HERE, threads=1) for one in bundles]
        truth = Truth(files=test.files, targets=test.targets, groups=test.groups)
        job = Job(device, truth, test.labels.names, recipe.bench, context.out, progress=context.progress)
        return score(job, subjects, device.pictures(test.files), here)


def _compile(recipe: Recipe, context: Context) -> None:
    context.progress("torch.compile", 0, 1)
    listed, student = context.out / "test.txt", floats.read(context.out)["student"]
    files = read_split(context.inputs["data"], "test").files
    listed.write_text("".join(f"{file.resolve()}\n" for file in files), encoding="utf-8")
    anchors.compile_student(context.inputs["student"], student, recipe.bench.threads, listed, context.out)
    listed.unlink()


def in_torch(recipe: Recipe, context: Context, nets: Mapping[str, Float], device: str = HERE) -> list[Subject]:
    """What the stage bench measures besides bundles: the nets in torch; and rows that say why a reference lacks one."""
    return [
        *anchors.subjects(recipe, context.inputs, nets, device),
        *_without_engine(context.inputs["references"], device, recipe.bench.threads),
    ]


def notes(folder: Path) -> list[str]:
    """What readers should know of the references in the folder of this stage."""
    found: list[str] = read_json(folder / FACTS)["notes"]
    return found


def _nets(recipe: Recipe, inputs: Mapping[str, Path]) -> dict[str, Path]:
    alone = teaching.alone(recipe, inputs)
    return {**({"teacher": alone} if alone else {}), "baseline": inputs["baseline"]}


def _engines(recipe: Recipe) -> tuple[Engine, ...]:
    """Of the recipe's engines for CPUs the first of each runtime that computes in float and in int8."""
    found: dict[tuple[str, bool], Engine] = {}
    for engine in recipe.export.engines:
        compute = getattr(engine.backend, "compute", "f32")
        on_cpu = isinstance(engine.backend, (OnnxRuntime, OpenVino)) and engine.backend.device.lower() == "cpu"
        if on_cpu and engine.precision in ("fp32", *INT8) and compute == "f32":
            found.setdefault((engine.backend.kind, engine.precision in INT8), engine)
    return tuple(found.values())


def _freeze(recipe: Recipe, context: Context, net: str, folder: Path) -> dict[Engine, str]:
    """Write the bundle of one net, if it has any engine; returns why it lacks others."""
    tune = read_split(context.inputs["data"], "tune")
    failed: dict[Engine, str] = {}
    entries: list[EngineEntry] = []
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        engines = _engines(recipe)
        graphs = _graphs(context.inputs, folder, {engine.precision for engine in engines}, work)
        for engine in engines:
            entry = _tried(partial(_entry, engine, graphs, work, tune))
            if isinstance(entry, str):
                failed[engine] = entry
            else:
                entries.append(entry)
        if entries:
            shipped = context.inputs["bundle"] / "bundle"
            manifest = _manifest(recipe, read_bundle(shipped), net, load_model(folder).image_px, entries)
            sources = {file.relative_to(work).as_posix(): file for file in sorted((work / "models").glob("*.onnx"))}
            sources |= {file: work / file for entry in entries for file in entry.files}
            write_bundle(Parts(manifest=manifest, sources={**sources, PROGRAM: shipped / PROGRAM}), context.out / net)
    return failed


def _graphs(inputs: Mapping[str, Path], folder: Path, wanted: set[str], work: Path) -> Graphs:
    """Graphs of one net in every precision, in work/models or, where they are no ONNX, in work/graphs."""
    tagger, labels = load_model(folder), load_labels(folder)
    made_for = read_bundle(inputs["bundle"] / "bundle", verify=False).recipe_hash
    (work / "models").mkdir()
    float_graph = _tried(
        partial(to_onnx, tagger, labels, tagger.image_px, work / "models" / "fp32.onnx", recipe_hash=made_for)
    )
    if isinstance(float_graph, str):
        return dict.fromkeys(wanted, f"it cannot be exported: {float_graph}")
    found: dict[str, Path | str] = {"fp32": float_graph}
    for precision in sorted(wanted & MAKERS.keys()):
        images = _calibration(inputs, tagger.image_px)
        out = work / ("graphs/int8_openvino.xml" if precision == "int8_openvino" else f"models/{precision}.onnx")
        found[precision] = _tried(partial(MAKERS[precision], float_graph, images, out))
    return found


def _calibration(inputs: Mapping[str, Path], image_px: int) -> NDArray[np.uint8]:
    """The pictures that calibrated the student's graphs, at this net's size."""
    chosen = read_json(inputs["precisions"] / CALIBRATION)["sha256"]
    train = read_split(inputs["data"], "train")
    rows = [row for row, name in enumerate(train.names) if name in chosen]
    return np.array(train.pixels(image_px)[rows])


def _entry(engine: Engine, graphs: Graphs, work: Path, tune: Split) -> EngineEntry:
    """An engine with thresholds from its own scores of tune.

    Raises ValueError where there is no graph for it.
    """
    graph, backend = graphs[engine.precision], engine.backend
    if isinstance(graph, str):
        raise ValueError(graph)
    file = backend.compile(graph, work / ("models" if isinstance(backend, OnnxRuntime) else "engines"))
    with backend.open(file) as session:
        pixels = tune.pixels(session.picture[0])
        parts = [session(np.array(pixels[at : at + BATCH])) for at in range(0, len(pixels), BATCH)]
    thresholds = tune_thresholds(np.concatenate(parts), tune.targets, tune.known)
    files = tuple(path.relative_to(work).as_posix() for path in backend.files(file))
    return EngineEntry(
        name=engine.name,
        backend=dataclasses.asdict(backend),
        precision=engine.precision,
        file=files[0],
        files=files,
        graph=f"models/{graph.name if graph.suffix == '.onnx' else 'fp32.onnx'}",
        thresholds=tuple(float(value) for value in thresholds),
        thresholds_from=engine.name,
    )


def _manifest(recipe: Recipe, shipped: Manifest, net: str, image_px: int, entries: list[EngineEntry]) -> Manifest:
    """The manifest that ships, of another net."""
    licences = shipped.licences
    if net == "teacher":
        own = recipe.teacher.model.weights.licence(recipe.teacher.model.backbone) if recipe.teacher else None
        licences = (*licences, *([own] if own else []))
    return dataclasses.replace(shipped, image_px=image_px, engines=tuple(entries), licences=licences, files={})


def _without_engine(folder: Path, device: str, threads: int) -> Iterator[Subject]:
    """Rows that say why a reference was not made."""
    for entry in read_json(folder / FACTS)["failed"]:
        row: dict[str, Any] = {key: entry[key] for key in ("name", "model", "runtime", "precision")}
        row = dict.fromkeys(ROW) | row | {"device": device, "kind": "reference", "threads": threads}
        yield Subject(partial(_refuse, entry["reason"]), (Candidate(entry["name"], row, ()),))


def _refuse(reason: str, *_: str, **__: Any) -> Any:
    raise ProcessFailedError(reason)


def _tried(make: Callable[[], T]) -> T | str:
    """What it makes, or why it does not; a disk without room ends the stage."""
    try:
        return make()
    except OSError:
        raise
    except Exception as cause:  # exporter, quantisers and runtimes raise classes of their own
        return (" ".join(str(cause).split()) or type(cause).__name__)[:LONGEST]
