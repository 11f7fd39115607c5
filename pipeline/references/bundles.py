"""Bundles of the teacher and of the baseline, exported like the student's, to compare latency and mAP with it."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from export.backends import OnnxRuntime, on_all_cores, score_in_batches
from export.bundle.bundle import PROGRAM, EngineEntry, Parts, read_bundle, write_bundle
from export.bundle.golden import write_golden
from export.onnx.to_onnx import to_onnx
from export.precision.int8 import int8, int8_x86
from export.precision.int8_openvino import int8_openvino
from mlkd.core.files import sha256_of
from mlkd.core.thresholds import Thresholds
from mlkd.data.prepared import Split, read_split
from mlkd.models.checkpoint import load_labels, load_model
from pipeline.recipe.schema import Engine, Recipe
from pipeline.runner.stage import Context
from pipeline.validation import BATCH, tuned

T = TypeVar("T")
MAX_REASON = 300  # characters
QUANTIZERS: dict[str, Callable[..., Path]] = {"int8": int8, "int8_x86": int8_x86, "int8_openvino": int8_openvino}
Graphs = Mapping[str, Path | str]  # by precision: the file, or the reason why there is none


def export_model(
    recipe: Recipe, context: Context, model: str, folder: Path, engines: Sequence[Engine], calibrated: Collection[str]
) -> dict[Engine, str]:
    """Write the bundle of the model in `folder` with the engines that can be made; returns why others cannot.

    `calibrated` names the images that calibrated the student's int8 graphs.
    """
    tune = read_split(context.inputs["data"], "tune")
    failed: dict[Engine, str] = {}
    entries: dict[Engine, EngineEntry] = {}
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        graphs = _graphs(context.inputs, folder, {engine.precision for engine in engines}, calibrated, work)
        for engine in engines:
            entry = _attempt(partial(_entry, engine, graphs, work, tune, recipe.export.thresholds))
            if isinstance(entry, str):
                failed[engine] = entry
            else:
                entries[engine] = entry
        if entries:
            image_px = load_model(folder).image_px
            _write(context.inputs["bundle"] / "bundle", image_px, entries, work, context.out / model)
    return failed


def _write(student: Path, image_px: int, entries: Mapping[Engine, EngineEntry], work: Path, out: Path) -> None:
    """Write the student's bundle with other engines, and with their scores of its golden images."""
    manifest = read_bundle(student)
    with contextlib.ExitStack() as stack:
        sessions = {
            entry.name: stack.enter_context(engine.backend.open(work / entry.file)) for engine, entry in entries.items()
        }
        images, expected = write_golden(
            [student / name for name in manifest.golden],
            image_px,
            work / "golden",
            sessions,
            labels=manifest.labels,
            thresholds={entry.name: entry.thresholds for entry in entries.values()},
        )
    sources = {_inside(file, work): file for file in (*sorted((work / "models").glob("*.onnx")), *images, expected)}
    sources |= {file: work / file for entry in entries.values() for file in entry.files}
    manifest = dataclasses.replace(
        manifest,
        image_px=image_px,
        engines=tuple(entries.values()),
        golden=tuple(_inside(file, work) for file in images),
        golden_expected=_inside(expected, work),
        files={},
    )
    write_bundle(Parts(manifest=manifest, sources={**sources, PROGRAM: student / PROGRAM}), out)


def _inside(file: Path, work: Path) -> str:
    return file.relative_to(work).as_posix()


def _graphs(
    inputs: Mapping[str, Path], folder: Path, precisions: set[str], calibrated: Collection[str], work: Path
) -> Graphs:
    """Export a model in float32 and in these precisions: ONNX graphs to work/models, others to work/graphs."""
    tagger, labels = load_model(folder), load_labels(folder)
    recipe_hash = read_bundle(inputs["bundle"] / "bundle", verify=False).recipe_hash
    (work / "models").mkdir()
    float_graph = _attempt(
        partial(to_onnx, tagger, labels, tagger.image_px, work / "models" / "fp32.onnx", recipe_hash=recipe_hash)
    )
    if isinstance(float_graph, str):
        return dict.fromkeys(precisions, f"the export to ONNX failed: {float_graph}")
    graphs: dict[str, Path | str] = {"fp32": float_graph}
    train = read_split(inputs["data"], "train")
    rows = [row for row, name in enumerate(train.names) if name in calibrated]
    for precision in sorted(precisions & QUANTIZERS.keys()):
        images = train.pixels_of(tagger.image_px, rows)
        out = work / ("graphs/int8_openvino.xml" if precision == "int8_openvino" else f"models/{precision}.onnx")
        graphs[precision] = _attempt(partial(QUANTIZERS[precision], float_graph, images, out))
    return graphs


def _entry(engine: Engine, graphs: Graphs, work: Path, tune: Split, aim: Thresholds) -> EngineEntry:
    """Compile an engine and tune its thresholds on its own scores; raises ValueError where it has no graph."""
    graph, backend = graphs[engine.precision], engine.backend
    if isinstance(graph, str):
        raise ValueError(graph)
    file = backend.compile(graph, work / ("models" if isinstance(backend, OnnxRuntime) else "engines"))
    with on_all_cores(backend).open(file) as session:
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


def _attempt(make: Callable[[], T]) -> T | str:
    """The result of `make`, or the reason why it failed; OSError is raised, a full disk ends the stage."""
    try:
        return make()
    except OSError:
        raise
    except Exception as cause:  # exporter, quantizers and runtimes raise classes of their own
        return (" ".join(str(cause).split()) or type(cause).__name__)[:MAX_REASON]
