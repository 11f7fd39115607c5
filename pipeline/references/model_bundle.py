"""A bundle of any model, without the pipeline's search for the best int8 graph."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from export.backends import OnnxRuntime
from export.bundle.bundle import PROGRAM, EngineEntry, Manifest, Parts, write_bundle
from export.bundle.golden import write_golden
from export.onnx.to_onnx import to_onnx
from export.precision.int8 import int8, int8_x86
from export.precision.int8_openvino import int8_openvino
from mlkd.core.files import sha256_of
from mlkd.core.labels import Labels
from mlkd.models.network import TaggerNet
from pipeline.recipe.schema import Engine

T = TypeVar("T")
MAX_REASON = 300  # characters
QUANTIZERS: dict[str, Callable[..., Path]] = {"int8": int8, "int8_x86": int8_x86, "int8_openvino": int8_openvino}
Graphs = Mapping[str, Path | str]  # by precision: the file, or the reason why there is none


@dataclass(frozen=True, kw_only=True)
class Material:
    """What a bundle is made from."""

    tagger: TaggerNet
    labels: Labels
    recipe_hash: str  # for the metadata of the graphs
    calibration: Callable[[], NDArray[np.uint8]]  # (K, H, W, 3), for int8
    decisions: Callable[
        [Engine, Path], Mapping[str, Any]
    ]  # thresholds of an engine's file, and what is expected of them
    golden: Sequence[Path]  # images for the self-test
    manifest: Callable[..., Manifest]  # from the fields that depend on the engines
    program: Path | None = None  # tagger.pyz; None: built from the sources


def write_model_bundle(material: Material, engines: Sequence[Engine], out: Path) -> dict[Engine, str]:
    """Write the bundle with the engines that can be made; return why others cannot.  Nothing is written without any."""
    failed: dict[Engine, str] = {}
    entries: dict[Engine, EngineEntry] = {}
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        graphs = _graphs(material, {engine.precision for engine in engines}, work)
        for engine in engines:
            entry = attempt(partial(_entry, engine, graphs, material, work))
            if isinstance(entry, str):
                failed[engine] = entry
            else:
                entries[engine] = entry
        if entries:
            _write(material, entries, work, out)
    return failed


def attempt(make: Callable[[], T]) -> T | str:
    """The result of `make`, or the reason why it failed; OSError is raised, a full disk ends the stage."""
    try:
        return make()
    except OSError:
        raise
    except Exception as cause:  # exporter, quantizers and runtimes raise classes of their own
        return reason_of(cause)


def reason_of(cause: Exception) -> str:
    """What an error says, on one line of at most MAX_REASON characters."""
    return (" ".join(str(cause).split()) or type(cause).__name__)[:MAX_REASON]


def _graphs(material: Material, precisions: Collection[str], work: Path) -> Graphs:
    """Export a model in float32 and in these precisions: ONNX graphs to work/models, others to work/graphs."""
    (work / "models").mkdir()
    tagger, out = material.tagger, work / "models" / "fp32.onnx"
    float_graph = attempt(
        lambda: to_onnx(tagger, material.labels, tagger.image_px, out, recipe_hash=material.recipe_hash)
    )
    if isinstance(float_graph, str):
        return dict.fromkeys(precisions, f"the export to ONNX failed: {float_graph}")
    graphs: dict[str, Path | str] = {"fp32": float_graph}
    for precision in sorted(set(precisions) & QUANTIZERS.keys()):
        out = work / ("graphs/int8_openvino.xml" if precision == "int8_openvino" else f"models/{precision}.onnx")
        images = material.calibration()
        graphs[precision] = attempt(partial(QUANTIZERS[precision], float_graph, images, out))
    return graphs


def _entry(engine: Engine, graphs: Graphs, material: Material, work: Path) -> EngineEntry:
    """Compile an engine and decide its thresholds; raises ValueError where it has no graph."""
    graph, backend = graphs[engine.precision], engine.backend
    if isinstance(graph, str):
        raise ValueError(graph)
    file = backend.compile(graph, work / ("models" if isinstance(backend, OnnxRuntime) else "engines"))
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
        **material.decisions(engine, file),
    )


def _write(material: Material, entries: Mapping[Engine, EngineEntry], work: Path, out: Path) -> None:
    """Write the bundle with the scores of its golden images."""
    with contextlib.ExitStack() as stack:
        sessions = {
            entry.name: stack.enter_context(engine.backend.open(work / entry.file)) for engine, entry in entries.items()
        }
        images, expected = write_golden(
            material.golden,
            material.tagger.image_px,
            work / "golden",
            sessions,
            labels=material.labels.names,
            thresholds={entry.name: entry.thresholds for entry in entries.values()},
        )
    sources = {_inside(file, work): file for file in (*sorted((work / "models").glob("*.onnx")), *images, expected)}
    sources |= {file: work / file for entry in entries.values() for file in entry.files}
    sources |= {PROGRAM: material.program} if material.program else {}
    manifest = material.manifest(
        image_px=material.tagger.image_px,
        engines=tuple(entries.values()),
        golden=tuple(_inside(file, work) for file in images),
        golden_expected=_inside(expected, work),
        files={},
    )
    write_bundle(Parts(manifest=manifest, sources=sources), out)


def _inside(file: Path, work: Path) -> str:
    return file.relative_to(work).as_posix()
