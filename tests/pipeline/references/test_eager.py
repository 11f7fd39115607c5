"""Nets in torch, timed and scored as the bundle's program times and scores engines, each in a process of its own."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import output_check
from benchmarks.accuracy import ReferenceScores, Truth
from benchmarks.device.tagger_process import ProcessFailedError
from benchmarks.measured_models import MeasuredModel
from benchmarks.rows import measured_row
from benchmarks.schema import ScoreSource
from mlkd.core import images
from mlkd.core.files import sha256_of
from mlkd.core.labels import Labels
from mlkd.models.checkpoint import BEST, load_model
from pipeline import teachers
from pipeline.recipe.schema import Recipe, load_recipe
from pipeline.references import eager, forked, in_torch
from pipeline.references.in_torch import Net
from tests.helpers import bundles, drawings, taggers

LABELS = Labels(("a", "b"))
HALF = np.full(2, 0.5, np.float32)
EAGER = np.array([[0.9, 0.1], [0.2, 0.7], [0.8, 0.3], [0.1, 0.6]], np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return taggers.save(tmp_path_factory.mktemp("student"), LABELS, bias=0.0)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return list(bundles.write_images(tmp_path_factory.mktemp("images")).values())


@pytest.fixture(scope="module")
def listed(files: list[Path]) -> Path:
    file = files[0].with_name("images.txt")
    file.write_text("".join(f"{image}\n" for image in files))
    return file


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return load_recipe(str(drawings.write_recipe(tmp_path, tmp_path)))


def words(listed: Path) -> list[str]:
    return ["--images", str(listed), "--sample", "3", "--queries", "5", "--warmup-s", "0.05", "--throughput"]


def net(folder: Path, cache: Path | None = None) -> Net:
    return Net(folder=folder, thresholds=HALF, threads=1, cache=cache)


def expected(folder: Path, files: list[Path]) -> Any:
    tagger = load_model(folder)
    pixels = np.stack([images.load(file, tagger.image_px) for file in files])
    with torch.inference_mode():
        return tagger(torch.from_numpy(pixels)).logits.sigmoid().numpy()


def found(recipe: Recipe, folder: Path, scores: Any = EAGER) -> list[MeasuredModel]:
    nets = {name: ReferenceScores(scores, HALF) for name in ("teacher", "student")}
    inputs = {"teacher": folder, "student": folder, "references": folder.with_name("references")}
    return list(eager.measured_models(recipe, inputs, nets, "here"))


@pytest.fixture
def compiled(folder: Path, files: list[Path], listed: Path) -> Iterator[Path]:
    """Where the stage references has compiled the student."""
    out = folder.with_name("references")
    out.mkdir()
    eager.compile_student(folder, ReferenceScores(expected(folder, files), HALF), 1, files, out)
    yield out
    shutil.rmtree(out)


def test_a_forked_process_times_the_eager_net_like_an_engine(
    recipe: Recipe, folder: Path, files: list[Path], listed: Path, tmp_path: Path
) -> None:
    student = found(recipe, folder)[1]
    engine = student.engines[0]
    threads, cores = torch.get_num_threads(), os.sched_getaffinity(0)
    told = student.program("bench", "--engine", engine.engine, *words(listed), timeout_s=100)
    assert (torch.get_num_threads(), os.sched_getaffinity(0)) == (threads, cores), "only the process itself is pinned"
    process = output_check.read_process(told)
    assert len(process.samples.engine_ms) == 5
    assert 0 < max(process.samples.infer_ms) < max(process.samples.end_to_end_ms)
    scored = student.program("scores", "--engine", engine.engine, "--images", str(listed), "--out", str(tmp_path))
    row = measured_row(
        engine.row,
        [process],
        output_check.read_score_result(scored["torch"]),
        tmp_path / "torch.npy",
        Truth(files=files, targets=(EAGER > 0.5).astype(np.uint8), groups=list("abcd")),
        engine.thresholds,
        labels=LABELS.names,
        map_from=ScoreSource(device="here"),
    )
    known = (row.name, row.kind, row.model, row.status)
    assert known == ("student-torch", "reference", "student", "measured")
    assert row.map == 1, "of the scores that the eager net has given already"
    assert row.sha256 == sha256_of(folder / BEST)
    assert row.runtime == f"torch {torch.__version__}"


def test_the_imports_of_torch_count_though_the_server_of_the_processes_has_done_them(
    folder: Path, listed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads, cores = torch.get_num_threads(), os.sched_getaffinity(0)
    monkeypatch.setattr(in_torch, "IMPORTS_MS", 1e6)
    try:
        assert 1e6 < in_torch.bench(net(folder), words(listed))["load_ms"] < 1.1e6
    finally:
        torch.set_num_threads(threads)
        os.sched_setaffinity(0, cores)


def test_a_net_that_does_not_score_like_the_eager_one_is_refused(folder: Path, files: list[Path], listed: Path) -> None:
    threads, scores = torch.get_num_threads(), expected(folder, files)
    try:
        assert in_torch.same(net(folder), files, scores)["error"] is None
        with pytest.raises(ValueError, match=r"expected the scores of the eager net to 0\.0001, got 0\.0002\d* apart"):
            in_torch.same(net(folder), files, scores + np.float32(2e-4))
    finally:
        torch.set_num_threads(threads)


@pytest.mark.slow
@pytest.mark.usefixtures("compiled")
def test_the_compiled_net_is_timed_and_scores_like_the_eager_one(
    recipe: Recipe, folder: Path, files: list[Path], listed: Path, tmp_path: Path
) -> None:
    student = found(recipe, folder, expected(folder, files))[1]
    engine = student.engines[1]
    assert engine.name == "student-torch-compile"
    told = student.program("bench", "--engine", engine.engine, *words(listed), timeout_s=300)
    assert told["first_ms"] < 1000, "compiling belongs to loading"
    assert told["ran"]["version"] == f"torch {torch.__version__}, torch.compile"
    out = ["--images", str(listed), "--out", str(tmp_path)]
    scored = student.program("scores", "--engine", "torch", "--engine", engine.engine, *out, timeout_s=300)
    assert [scored[way]["error"] for way in ("torch", "torch-compile")] == [None, None]
    for way in ("torch", "torch-compile"):
        np.testing.assert_array_equal(np.load(tmp_path / f"{way}.npy"), expected(folder, files))


def test_without_a_compiler_the_compiled_row_says_so(
    recipe: Recipe, folder: Path, files: list[Path], listed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_torch, "same", without_compiler)
    out = folder.with_name("references")
    out.mkdir()
    try:
        eager.compile_student(folder, ReferenceScores(EAGER, HALF), 1, files, out)
        student = found(recipe, folder)[1]
        named = ["--engine", "torch", "--engine", "torch-compile"]
        scored = student.program("scores", *named, "--images", str(listed), "--out", str(tmp_path))
    finally:
        shutil.rmtree(out)
    assert scored["torch"]["error"] is None
    assert "No working C++ compiler" in scored["torch-compile"]["error"]


def without_compiler(net: Net, *_: Any) -> Any:
    """What a process does on a machine without g++."""
    torch._inductor.config.cpp.cxx = ("no-such-compiler",)
    return in_torch._open(net)


def test_the_teacher_is_there_only_where_it_is_one_net_of_ours(
    recipe: Recipe, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [one.name for model in found(recipe, folder) for one in model.engines] == [
        "teacher-torch", "student-torch",
    ]  # fmt: skip
    monkeypatch.setattr(teachers, "alone", lambda *_: None)
    assert {one.row.model for model in found(recipe, folder) for one in model.engines} == {"student"}


def test_what_was_compiled_is_gone_with_its_model(recipe: Recipe, folder: Path) -> None:
    models = found(recipe, folder)
    caches = [model.program.cache for model in models]  # type: ignore[attr-defined]
    assert all(cache.is_dir() for cache in caches)
    models.clear()
    assert not any(cache.exists() for cache in caches)


def test_a_process_that_fails_says_why(folder: Path, listed: Path, tmp_path: Path) -> None:
    with pytest.raises(ProcessFailedError, match=r"ValueError: checkpoint: expected the file .*best.safetensors"):
        forked.apart(in_torch.bench, net(tmp_path), words(listed), timeout_s=100)
    with pytest.raises(ProcessFailedError, match="exit code 3: the process ended without an answer"):
        forked.apart(os._exit, 3, timeout_s=100)
    began = time.monotonic()
    with pytest.raises(ProcessFailedError, match=r"no answer within 0.2 s"):
        forked.apart(time.sleep, 100, timeout_s=0.2)
    assert time.monotonic() - began < 60, "the process is ended"


def test_what_a_process_prints_is_not_seen(capfd: pytest.CaptureFixture[str]) -> None:
    assert forked.apart(print, "a warning of torch", timeout_s=100) is None
    assert "warning" not in "".join(capfd.readouterr())
