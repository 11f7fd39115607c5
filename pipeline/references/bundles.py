"""Bundles of nets that are no student, made as the student's is, to be timed beside it."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from export.backends import OnnxRuntime, OpenVino, score_in_batches
from export.bundle.bundle import PROGRAM, EngineEntry, Parts, read_bundle, write_bundle
from export.bundle.golden import write_golden
from export.onnx.to_onnx import to_onnx
from export.precision.int8 import int8
from export.precision.int8_openvino import int8_openvino
from export.precision.int8_x86 import int8_x86
from mlkd.core.files import sha256_of
from mlkd.core.thresholds import Thresholds
from mlkd.data.prepared import Split, read_split
from mlkd.models.checkpoint import load_labels, load_model
from pipeline.int8_graphs import CALIBRATION
from pipeline.recipe.schema import INT8, Engine, Recipe
from pipeline.runner.result import read_json
from pipeline.runner.stage import Context
from pipeline.validation import BATCH, tuned

T = TypeVar("T")
LONGEST = 300  # characters of a reason
MAKERS: dict[str, Callable[..., Path]] = {"int8": int8, "int8_x86": int8_x86, "int8_openvino": int8_openvino}
Graphs = Mapping[str, Path | str]  # by precision: its file, or why there is none


def engines_of(recipe: Recipe) -> tuple[Engine, ...]:
    """Of the recipe's engines for CPUs the first of each runtime that computes in float and in int8."""
    found: dict[tuple[str, bool], Engine] = {}
    for engine in recipe.export.engines:
        compute = getattr(engine.backend, "compute", "f32")
        on_cpu = isinstance(engine.backend, (OnnxRuntime, OpenVino)) and engine.backend.device.lower() == "cpu"
        if on_cpu and engine.precision in ("fp32", *INT8) and compute == "f32":
            found.setdefault((engine.backend.kind, engine.precision in INT8), engine)
    return tuple(found.values())


def freeze(recipe: Recipe, context: Context, net: str, folder: Path, engines: Sequence[Engine]) -> dict[Engine, str]:
    """Write the bundle of one net, if it has any engine; returns why it lacks others."""
    tune = read_split(context.inputs["data"], "tune")
    failed: dict[Engine, str] = {}
    made: dict[Engine, EngineEntry] = {}
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        graphs = _graphs(context.inputs, folder, {engine.precision for engine in engines}, work)
        for engine in engines:
            entry = _tried(partial(_entry, engine, graphs, work, tune, recipe.export.thresholds))
            if isinstance(entry, str):
                failed[engine] = entry
            else:
                made[engine] = entry
        if made:
            _write(context.inputs["bundle"] / "bundle", load_model(folder).image_px, made, work, context.out / net)
    return failed


def _write(shipped: Path, image_px: int, made: Mapping[Engine, EngineEntry], work: Path, out: Path) -> None:
    """The bundle that ships, with other engines; its golden images too give what these say of them."""
    manifest = read_bundle(shipped)
    with contextlib.ExitStack() as opened:
        sessions = {
            entry.name: opened.enter_context(engine.backend.open(work / entry.file)) for engine, entry in made.items()
        }
        images, expected = write_golden(
            [shipped / name for name in manifest.golden],
            image_px,
            work / "golden",
            sessions,
            labels=manifest.labels,
            thresholds={entry.name: entry.thresholds for entry in made.values()},
        )
    sources = {_inside(file, work): file for file in (*sorted((work / "models").glob("*.onnx")), *images, expected)}
    sources |= {file: work / file for entry in made.values() for file in entry.files}
    of_net = dataclasses.replace(
        manifest,
        image_px=image_px,
        engines=tuple(made.values()),
        golden=tuple(_inside(file, work) for file in images),
        golden_expected=_inside(expected, work),
        files={},
    )
    write_bundle(Parts(manifest=of_net, sources={**sources, PROGRAM: shipped / PROGRAM}), out)


def _inside(file: Path, work: Path) -> str:
    return file.relative_to(work).as_posix()


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
    """The images that calibrated the student's graphs, at this net's size."""
    chosen = read_json(inputs["precisions"] / CALIBRATION)["sha256"]
    train = read_split(inputs["data"], "train")
    rows = [row for row, name in enumerate(train.names) if name in chosen]
    return np.array(train.pixels(image_px)[rows])


def _entry(engine: Engine, graphs: Graphs, work: Path, tune: Split, aim: Thresholds) -> EngineEntry:
    """An engine with thresholds from its own scores of tune.

    Raises ValueError where there is no graph for it.
    """
    graph, backend = graphs[engine.precision], engine.backend
    if isinstance(graph, str):
        raise ValueError(graph)
    file = backend.compile(graph, work / ("models" if isinstance(backend, OnnxRuntime) else "engines"))
    with backend.open(file) as session:
        scores = score_in_batches(session, tune.pixels(session.image[0]), BATCH)
    files = tuple(_inside(path, work) for path in backend.files(file))
    return EngineEntry(
        name=engine.name,
        backend=dataclasses.asdict(backend),
        precision=engine.precision,
        file=files[0],
        files=files,
        graph=f"models/{graph.name if graph.suffix == '.onnx' else 'fp32.onnx'}",
        thresholds_from=engine.name,
        thresholds_sha256=sha256_of(file),
        **tuned(engine.name, tune, scores, aim),
    )


def _tried(make: Callable[[], T]) -> T | str:
    """What it makes, or why it does not; a disk without room ends the stage."""
    try:
        return make()
    except OSError:
        raise
    except Exception as cause:  # exporter, quantisers and runtimes raise classes of their own
        return (" ".join(str(cause).split()) or type(cause).__name__)[:LONGEST]
