"""Runs that are killed at random moments end with the same weights and scores."""

import random
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from export.bundle.bundle import parts_of, read_bundle
from export.tagger.engine_choice import backend_of
from mlkd.core.files import sha256_of
from mlkd.data.prepared import read_split
from tests.helpers import commands
from tests.helpers.whole_run import scored, write_recipe


def killed_runs(work: Path, verb: str, stages: list[str], rng: random.Random) -> None:
    """Kill a command, with all its children, a moment after each of the stages has started."""
    for stage in stages:
        started = commands.start(work, verb, "--recipe", "tiny.yaml")
        while started.running() and not (work / f"runs/tiny/{stage}.partial").exists():
            time.sleep(0.01)
        assert started.running(), f"ended before {stage} began: {started.wait()}"
        time.sleep(rng.uniform(0, 1.5))
        started.kill()


@pytest.mark.slow
def test_training_killed_at_random_ends_with_the_same_weights(work: Path, drawn: Path, tmp_path: Path) -> None:
    write_recipe(drawn, tmp_path)
    killed_runs(tmp_path, "distill", ["data", "teacher", "student"], random.Random(20))
    finished = {path.parent.name: path.stat().st_mtime_ns for path in tmp_path.glob("runs/tiny/*/stage.json")}
    code, log = commands.run(tmp_path, "distill", "--recipe", "tiny.yaml")
    assert code == 0, log
    for name, written in finished.items():
        if not name.endswith(".partial"):
            assert (tmp_path / "runs/tiny" / name / "stage.json").stat().st_mtime_ns == written
    for name in ("teacher/best", "teacher/last", "student/best", "student/last"):
        assert equal(work, tmp_path, f"runs/tiny/{name}.safetensors")


@pytest.mark.slow
def test_an_export_killed_at_random_ends_with_the_same_scores(work: Path, copied: Path) -> None:
    for stage in ("onnx", "engines", "bundle", "bench", "report"):
        shutil.rmtree(copied / "runs/tiny" / stage)
    shutil.rmtree(copied / "dist")
    killed_runs(copied, "export", ["onnx", "engines"], random.Random(20))
    code, log = commands.run(copied, "export", "--recipe", "tiny.yaml")
    assert code == 0, log
    assert equal(work, copied, "runs/tiny/onnx/fp32.onnx")
    assert "precisions: unchanged, skipped" in log
    assert equal_scores(work / "runs/tiny/bundle/bundle", copied / "dist/tiny", work / "runs/tiny/data") == 3


def equal(first: Path, second: Path, path: str) -> bool:
    return sha256_of(first / path) == sha256_of(second / path)


def equal_scores(first: Path, second: Path, data: Path) -> int:
    """How many engines run here, each with equal scores and thresholds in both bundles."""
    pixels = np.array(read_split(data, "test").pixels(32))
    entries = [{engine.name: engine for engine in read_bundle(folder).engines} for folder in (first, second)]
    assert entries[0].keys() == entries[1].keys()
    counted = 0
    for name, entry in entries[0].items():
        assert entry.thresholds == entries[1][name].thresholds
        if backend_of(entry).unavailable_reason() is None:
            scores = [scored(folder, entry, pixels) for folder in (first, second)]
            np.testing.assert_array_equal(*scores)
            counted += 1
    assert parts_of(first).sources.keys() == parts_of(second).sources.keys()
    return counted
