"""Reference rows in torch: teacher and student eager, the student by torch.compile, timed and scored like engines."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.accuracy import ReferenceScores
from benchmarks.device.output import ScoreResult
from benchmarks.device.tagger_process import ProcessFailedError
from benchmarks.measured_models import MeasuredEngine, MeasuredModel
from benchmarks.schema import Row
from mlkd.core.files import sha256_of
from mlkd.models.checkpoint import BEST
from pipeline import teachers
from pipeline.recipe.schema import Recipe
from pipeline.references import forked, in_torch
from pipeline.references.in_torch import Net
from pipeline.runner.result import read_json

COMPILED = "torch-compile"
FACTS, INDUCTOR = "compiled.json", "inductor"


def compile_student(folder: Path, net: ReferenceScores, threads: int, files: Sequence[Path], out: Path) -> None:
    """Compile the student once for all that will time it, into out/INDUCTOR; FACTS says whether it scores as eager."""
    compiled = Net(folder=folder, thresholds=net.thresholds, threads=threads, cache=out / INDUCTOR)
    try:
        result = forked.apart(in_torch.same, compiled, files, net.scores)
    except ProcessFailedError as cause:
        result = dataclasses.asdict(ScoreResult(error=str(cause)))
    (out / FACTS).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def measured_models(
    recipe: Recipe, inputs: Mapping[str, Path], nets: Mapping[str, ReferenceScores], device: str
) -> Iterator[MeasuredModel]:
    """The teacher, where it is one net of ours, and the student; `nets` as they scored the test set in torch."""
    alone = teachers.alone(recipe, inputs)
    made = inputs["references"] / FACTS
    compiled = read_json(made) if made.is_file() else None
    ways_of = {"teacher": ("torch",), "student": ("torch", *([COMPILED] if compiled else []))}
    for model, folder in (("teacher", alone), ("student", inputs["student"])):
        if folder is None:
            continue
        cache, ways = Path(tempfile.mkdtemp(prefix="inductor-")), ways_of[model]
        program = InTorch(nets[model], folder, recipe.bench.threads, cache, compiled)
        weakref.finalize(program, shutil.rmtree, cache, ignore_errors=True)
        if COMPILED in ways and (inputs["references"] / INDUCTOR).is_dir():
            shutil.copytree(inputs["references"] / INDUCTOR, cache, dirs_exist_ok=True)
        engines = tuple(_measured_engine(model, way, folder, program, device) for way in ways)
        yield MeasuredModel(program, engines, nets[model])


@dataclass(frozen=True)
class InTorch:
    """A `Run` as a bundle's program is; its engines are the ways to run one net, each time in a new process."""

    net: ReferenceScores  # what the eager net says of the test set
    folder: Path
    threads: int
    cache: Path  # where what one process has compiled waits for the next
    compiled: Any  # what the scores of the compiled net were found to be

    def __call__(self, *arguments: str, timeout_s: float | None = None) -> Any:
        """What `tagger.pyz bench` or `tagger.pyz scores` prints; raises ProcessFailedError."""
        parser = argparse.ArgumentParser()
        parser.add_argument("--engine", action="append", required=True)
        parser.add_argument("--out", type=Path)
        options = parser.parse_known_args(arguments)[0]
        if arguments[0] == "bench":
            return forked.apart(in_torch.bench, self._way(options.engine[0]), arguments, timeout_s=timeout_s)
        for way in options.engine:
            in_torch.keep(self.net.scores, options.out / f"{way}.npy")
        eager = dataclasses.asdict(in_torch.score_result(self._way("torch")))
        return {way: self.compiled if way == COMPILED else eager for way in options.engine}

    def _way(self, way: str) -> Net:
        cache = self.cache if way == COMPILED else None
        return Net(folder=self.folder, thresholds=self.net.thresholds, threads=self.threads, cache=cache)


def _measured_engine(model: str, way: str, folder: Path, program: InTorch, device: str) -> MeasuredEngine:
    file = folder / BEST
    row = Row(
        name=f"{model}-{way}",
        device=device,
        kind="reference",
        model=model,
        runtime="torch",
        precision="fp32",
        threads=program.threads,
        file=BEST,
        sha256=sha256_of(file),
        bytes=file.stat().st_size,
    )
    return MeasuredEngine(way, row, program.net.thresholds.tolist())
