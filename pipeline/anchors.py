"""Reference rows in torch: teacher and student eager, the student by torch.compile, timed and scored like engines."""

from __future__ import annotations

import argparse
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.program import ProcessFailedError
from benchmarks.rows import ROW
from benchmarks.subjects import Candidate, Float, Subject
from mlkd.checkpoint import BEST
from pipeline import forked, in_torch, teaching
from pipeline.in_torch import Net
from pipeline.recipe import Recipe
from pipeline.result import sha256

COMPILED = "torch-compile"


def subjects(recipe: Recipe, inputs: Mapping[str, Path], nets: Mapping[str, Float], device: str) -> Iterator[Subject]:
    """The teacher, where it is one net of ours, and the student; `nets` as they scored the test set in torch."""
    alone = teaching.alone(recipe, inputs)
    for model, folder, ways in (("teacher", alone, ("torch",)), ("student", inputs["student"], ("torch", COMPILED))):
        if folder is None:
            continue
        program = InTorch(nets[model], folder, recipe.bench.threads, Path(tempfile.mkdtemp(prefix="inductor-")))
        weakref.finalize(program, shutil.rmtree, program.cache, ignore_errors=True)
        candidates = [_candidate(model, way, folder, program, device) for way in ways]
        yield Subject(program, tuple(candidates), nets[model])


@dataclass(frozen=True)
class InTorch:
    """A `Run` as a bundle's program is; its engines are the ways to run one net, each time in a new process."""

    net: Float  # what the eager net says of the test set
    folder: Path
    threads: int
    cache: Path  # where what one process has compiled waits for the next

    def __call__(self, *arguments: str, timeout_s: float | None = None) -> Any:
        """What `tagger.pyz bench` or `tagger.pyz scores` prints; raises ProcessFailedError."""
        parser = argparse.ArgumentParser()
        parser.add_argument("--engine", action="append", required=True)
        parser.add_argument("--out", type=Path)
        options = parser.parse_known_args(arguments)[0]
        if arguments[0] == "bench":
            return forked.apart(in_torch.bench, self._way(options.engine[0]), arguments, timeout_s=timeout_s)
        return {way: self._scores(way, arguments, options.out / f"{way}.npy", timeout_s) for way in options.engine}

    def _scores(self, way: str, arguments: Sequence[str], out: Path, timeout_s: float | None) -> dict[str, Any]:
        """Of the eager net those that are there; the compiled one must have the same."""
        if way != COMPILED:
            return in_torch.kept(self._way(way), self.net.scores, out)
        try:
            told = self._way(way), arguments, self.net.scores, out
            return dict(forked.apart(in_torch.same, *told, timeout_s=timeout_s))
        except ProcessFailedError as cause:
            return {"ran": None, "sha256": None, "error": str(cause)}

    def _way(self, way: str) -> Net:
        cache = self.cache if way == COMPILED else None
        return Net(folder=self.folder, thresholds=self.net.thresholds, threads=self.threads, cache=cache)


def _candidate(model: str, way: str, folder: Path, program: InTorch, device: str) -> Candidate:
    file = folder / BEST
    known = {
        "name": f"{model}-{way}",
        "device": device,
        "kind": "reference",
        "model": model,
        "runtime": "torch",
        "precision": "fp32",
        "threads": program.threads,
        "file": BEST,
        "sha256": sha256(file),
        "bytes": file.stat().st_size,
    }
    return Candidate(way, dict.fromkeys(ROW) | known, program.net.thresholds.tolist())
