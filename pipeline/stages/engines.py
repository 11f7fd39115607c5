"""Stage engines: compile each engine, run it on all of val, tune its thresholds, compare it with the float engine."""

from __future__ import annotations

import logging
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.doctor import compare
from export.backends import OnnxRuntime, OpenVino, TensorRt, on_all_cores, stamp
from export.bundle.manifest import ANY_PROCESSOR
from export.errors import MissingRuntimeError
from export.onnx.parity import Parity, check
from mlkd.core.files import sha256_of
from pipeline.recipe.schema import INT8, Engine, Recipe
from pipeline.runner.result import read_json, write_json
from pipeline.runner.stage import Context
from pipeline.stages.precisions import check_budget, graphs
from pipeline.validation import Val

log = logging.getLogger(__name__)

EXACT = "exact arithmetic"


def run(recipe: Recipe, context: Context) -> None:
    """Build every engine and write engines.json."""
    files, int8 = graphs(context.inputs["precisions"])
    check_budget(int8["precisions"], recipe.export.budget)
    (models := context.out / "models").mkdir(exist_ok=True)
    files |= {
        name: Path(shutil.copyfile(file, models / f"{name}.onnx"))
        for name, file in files.items()
        if file.suffix == ".onnx"
    }
    work = _Work(recipe, Val.read(recipe, context.inputs["data"]), files, context.out)
    entries = []
    for done, engine in enumerate(recipe.export.engines):
        context.progress("engines", done, len(recipe.export.engines))
        entries.append(work.build(engine))
        log.info("engines: %s", _summary(entries[-1]))
    context.progress("engines", len(entries), len(entries))
    facts = {"engines": entries, "int8": int8}
    write_json(context.out / "engines.json", facts)


@dataclass(frozen=True)
class _Work:
    """What building engines needs; `scores_of` caches the scores of graphs that several engines share."""

    recipe: Recipe
    val: Val
    graphs: dict[str, Path]
    out: Path
    scores_of: dict[Path, NDArray[np.float32]] = field(default_factory=dict)

    def build(self, engine: Engine) -> dict[str, Any]:
        """One engine's files and facts.

        What is int8 is judged by, and takes its thresholds from, exact arithmetic, and an engine that cannot run here
        the same graph on the CPU.  Raises ValueError when it is further from the float engine than the recipe's gate.
        """
        graph = self.graphs[engine.precision]
        files, reason = self._compiled(engine, graph)
        scored = files[0] if files[0].suffix in (".onnx", ".xml") else graph
        own = scored == files[0] and reason is None
        exact = engine.precision in INT8
        if own and not exact:
            with on_all_cores(engine.backend).open(scored) as session:
                scores = self.val.scores(session)
        else:
            scores = self._of_graph(scored, exact=exact)
        float_scores = self._of_graph(self.graphs["fp32"])
        parity = self.val.parity(float_scores, scores, self.val.thresholds(float_scores))
        self._check(engine, parity)
        return {
            "name": engine.name,
            "backend": asdict(engine.backend),
            "precision": engine.precision,
            "files": [self._relative(path) for path in files],
            "graph": f"models/{self._source(graph).name}",
            **self.val.tuned(engine.name, scores),
            "thresholds_from": engine.name if own else f"{runtime_of(scored).kind}, cpu, {self._relative(scored)}",
            "thresholds_of": self._relative(scored),
            "judged_in": EXACT if exact else stamp.instruction_set(),
            "meant_for": meant_for(engine),
            "parity": asdict(parity),
            "drift": self._drift(engine, files[0], scores) if exact and reason is None else None,
            "not_run": reason,
        }

    def _drift(self, engine: Engine, file: Path, exact: NDArray[np.float32]) -> dict[str, Any] | None:
        """Compare this CPU's int8 kernels with exact arithmetic on select; None for engines that run on no CPU."""
        if not isinstance(engine.backend, OnnxRuntime | OpenVino):
            return None
        with on_all_cores(engine.backend).open(file) as session:
            found = self.val.scores(session)
        select, count = self.val.select, len(self.val.select)
        drift = compare(exact[:count], found[:count], select.targets, select.label_mask)
        if drift.saturates:
            log.warning("%s: %s; use another int8 engine or float on this processor", engine.name, drift)
        return {**asdict(drift), "text": str(drift)}

    def _compiled(self, engine: Engine, graph: Path) -> tuple[tuple[Path, ...], str | None]:
        """Compile the engine; return its files and why it cannot run here, or None.

        Where only the device can build the engine, the files are the ONNX graph alone.
        """
        folder = "models" if isinstance(engine.backend, OnnxRuntime) else "engines"
        try:
            file = engine.backend.compile(graph, self.out / folder)
        except MissingRuntimeError as cause:
            if not isinstance(engine.backend, TensorRt) or engine.backend.compute_capability != "device":
                raise
            return (graph,), str(cause)
        return engine.backend.files(file), engine.backend.unavailable_reason()

    def _check(self, engine: Engine, parity: Parity) -> None:
        export = self.recipe.export
        try:
            check(parity, export.parity.of(engine.precision, getattr(engine.backend, "compute", "f32")), engine.name)
        except ValueError as cause:
            if not (engine.precision in INT8 and export.budget.allow):
                raise
            log.warning("exported although over budget, because the recipe allows it: %s", cause)

    def _of_graph(self, graph: Path, *, exact: bool = False) -> NDArray[np.float32]:
        if graph not in self.scores_of:
            runtime = on_all_cores(runtime_of(graph))
            with runtime.open_exact(graph) if exact else runtime.open_graph(graph) as session:
                self.scores_of[graph] = self.val.scores(session)
        return self.scores_of[graph]

    def _relative(self, file: Path) -> str:
        return file.relative_to(self.out).as_posix()

    def _source(self, graph: Path) -> Path:
        """Return the ONNX graph that a graph is or was converted from."""
        origin = stamp.origin(graph)
        return next(file for file in self.graphs.values() if file.suffix == ".onnx" and sha256_of(file) == origin)


def meant_for(engine: Engine) -> str:
    """Describe what an engine is made for; `int8` has 8-bit weights, which saturate on x86 without VNNI."""
    backend = engine.backend
    if isinstance(backend, TensorRt):
        built_there = backend.compute_capability == "device"
        return "the NVIDIA GPU that it is built on" if built_there else f"NVIDIA GPUs, {backend.compute_capability}"
    if backend.device.upper() != "CPU":
        return "NVIDIA GPUs" if isinstance(backend, OnnxRuntime) else f"OpenVINO's device {backend.device}"
    return "ARM and x86 with VNNI" if engine.precision == "int8" else ANY_PROCESSOR


def runtime_of(graph: Path) -> OnnxRuntime | OpenVino:
    """Return the backend that runs a graph on any CPU."""
    return OpenVino() if graph.suffix == ".xml" else OnnxRuntime()


def _summary(entry: dict[str, Any]) -> str:
    ran = "" if entry["not_run"] is None else f"; built, not run: {entry['not_run']}"
    found = "no mAP" if entry["tune_map"] is None else f"mAP {100 * entry['tune_map']:.2f}"
    return f"{entry['name']} has {found} on tune{ran}"


def cost(folder: Path) -> dict[str, Any]:
    """Read from the folder of this stage what export cost, for the report."""
    facts = read_json(folder / "engines.json")
    parity = [
        {
            "engine": entry["name"],
            "scored_by": entry["thresholds_from"],
            **entry["parity"],
            **{name: entry[name] for name in ("judged_in", "meant_for", "drift")},
        }
        for entry in facts["engines"]
    ]
    return {**facts["int8"], "parity": parity}
