"""Reference rows in torch: the eager teacher and student and the compiled student, timed and scored like engines."""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy import ReferenceScores
from benchmarks.device.output import ScoreResult
from benchmarks.device.tagger_process import ProcessFailedError
from benchmarks.measured_models import MeasuredEngine, MeasuredModel
from benchmarks.schema import Row
from mlkd.core.files import sha256_of
from mlkd.models.checkpoint import BEST
from pipeline import teachers
from pipeline.recipe.schema import Recipe
from pipeline.references import torch_model
from pipeline.references.torch_model import TorchModel
from pipeline.references.torch_process import run_in_process
from pipeline.runner.result import read_json, write_json
from pipeline.tagger_cli import measuring

COMPILED = "torch-compile"
FACTS, INDUCTOR = "compiled.json", "inductor"


def compile_student(folder: Path, student: ReferenceScores, threads: int, files: Sequence[Path], out: Path) -> None:
    """Compile the student into out/INDUCTOR, for every process that times it; FACTS says if it scores as eager does."""
    compiled = TorchModel(folder=folder, thresholds=student.thresholds, threads=threads, cache=out / INDUCTOR)
    try:
        answer = run_in_process(torch_model.check_scores, compiled, files, student.scores)
    except ProcessFailedError as cause:
        answer = dataclasses.asdict(ScoreResult(error=str(cause)))
    write_json(out / FACTS, answer)


def measured_models(
    recipe: Recipe, inputs: Mapping[str, Path], scored: Mapping[str, ReferenceScores], device: str
) -> Iterator[MeasuredModel]:
    """The student, and the teacher where it is a single model in torch; `scored` holds their scores of the test set."""
    compiled = inputs["references"] / FACTS
    facts = read_json(compiled) if compiled.is_file() else None
    modes = {"teacher": ["torch"], "student": ["torch", COMPILED] if facts else ["torch"]}
    for model, folder in (("teacher", teachers.alone(recipe, inputs)), ("student", inputs["student"])):
        if folder is None:
            continue
        cache = Path(tempfile.mkdtemp(prefix="inductor-"))
        program = TorchProgram(scored[model], folder, recipe.bench.threads, cache, facts)
        weakref.finalize(program, shutil.rmtree, cache, ignore_errors=True)
        if COMPILED in modes[model] and (inputs["references"] / INDUCTOR).is_dir():
            shutil.copytree(inputs["references"] / INDUCTOR, cache, dirs_exist_ok=True)
        engines = tuple(_measured_engine(model, mode, folder, program, device) for mode in modes[model])
        yield MeasuredModel(program, engines, scored[model])


@dataclass(frozen=True)
class TorchProgram:
    """Answers like the program of a bundle; its engines are the modes of one model: eager and compiled."""

    scored: ReferenceScores  # by the eager model, of the test set
    folder: Path
    threads: int
    cache: Path  # of torch.compile, shared by the processes
    compiled: Any  # answer for the compiled model's scores

    def __call__(self, *arguments: str, timeout_s: float | None = None) -> Any:
        """Answer `bench` and `scores` as tagger.pyz does; each bench runs in a new process.

        Raises ProcessFailedError.
        """
        options = parse(arguments)
        if arguments[0] == "bench":
            return run_in_process(torch_model.bench, self._model(options.engine[0]), options, timeout_s=timeout_s)
        options.out.mkdir(parents=True, exist_ok=True)
        for mode in options.engine:
            np.save(options.out / f"{mode}.npy", self.scored.scores)
        eager = torch_model.describe(self._model("torch"))
        return {mode: self.compiled if mode == COMPILED else eager for mode in options.engine}

    def _model(self, mode: str) -> TorchModel:
        cache = self.cache if mode == COMPILED else None
        return TorchModel(folder=self.folder, thresholds=self.scored.thresholds, threads=self.threads, cache=cache)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read a command as tagger.pyz does."""
    parser = argparse.ArgumentParser()
    measuring.add(parser.add_subparsers())
    return parser.parse_args(arguments)


def _measured_engine(model: str, mode: str, folder: Path, program: TorchProgram, device: str) -> MeasuredEngine:
    file = folder / BEST
    row = Row(
        name=f"{model}-{mode}",
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
    return MeasuredEngine(mode, row, program.scored.thresholds.tolist())
