"""Models in torch answer like the program of a bundle, each bench in a process of its own."""

import os
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
from pipeline.references import torch_model, torch_rows
from pipeline.references.torch_model import TorchModel
from pipeline.references.torch_process import run_in_process
from tests.helpers import bundles, drawings, taggers

LABELS = Labels(("a", "b"))
HALF = np.full(2, 0.5, np.float32)
SCORES = np.array([[0.9, 0.1], [0.2, 0.7], [0.8, 0.3], [0.1, 0.6]], np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return taggers.save(tmp_path_factory.mktemp("student"), LABELS, bias=0.0)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return list(bundles.write_images(tmp_path_factory.mktemp("images")).values())


@pytest.fixture(scope="module")
def listed(files: list[Path]) -> str:
    file = files[0].with_name("images.txt")
    file.write_text("".join(f"{image}\n" for image in files))
    return str(file)


@pytest.fixture(scope="module")
def eager_scores(folder: Path, files: list[Path]) -> Any:
    tagger = load_model(folder)
    pixels = np.stack([images.load(file, tagger.image_px) for file in files])
    with torch.inference_mode():
        return tagger(torch.from_numpy(pixels)).logits.sigmoid().numpy()


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return load_recipe(str(drawings.write_recipe(tmp_path, tmp_path)))


@pytest.fixture
def references(tmp_path: Path) -> Path:
    """The folder of the stage references."""
    (tmp_path / "references").mkdir()
    return tmp_path / "references"


@pytest.fixture
def same_process() -> Iterator[None]:
    """Undo what a bench changes in the process that it runs in."""
    threads, cores = torch.get_num_threads(), os.sched_getaffinity(0)
    yield
    torch.set_num_threads(threads)
    os.sched_setaffinity(0, cores)


def bench_options(listed: str, mode: str = "torch") -> list[str]:
    protocol = ["--sample", "3", "--queries", "5", "--warmup-s", "0.05", "--throughput"]
    return ["bench", "--engine", mode, "--images", listed, *protocol]


def model(folder: Path) -> TorchModel:
    return TorchModel(folder=folder, thresholds=HALF, threads=1)


def measured_models(recipe: Recipe, folder: Path, references: Path, scores: Any = SCORES) -> list[MeasuredModel]:
    scored = {name: ReferenceScores(scores, HALF) for name in ("teacher", "student")}
    inputs = {"teacher": folder, "student": folder, "references": references}
    return list(torch_rows.measured_models(recipe, inputs, scored, "here"))


def test_eager_model_fills_a_row_like_an_engine(
    recipe: Recipe, folder: Path, files: list[Path], listed: str, references: Path
) -> None:
    student = measured_models(recipe, folder, references)[1]
    engine = student.engines[0]
    threads, cores = torch.get_num_threads(), os.sched_getaffinity(0)
    timed = student.program(*bench_options(listed), timeout_s=100)
    assert (torch.get_num_threads(), os.sched_getaffinity(0)) == (threads, cores), "only the new process is pinned"
    process = output_check.read_process(timed)
    assert len(process.samples.engine_ms) == 5
    assert 0 < max(process.samples.infer_ms) < max(process.samples.end_to_end_ms)
    scored = student.program("scores", "--engine", engine.engine, "--images", listed, "--out", str(references))
    truth = Truth(files=files, targets=(SCORES > 0.5).astype(np.uint8), groups=list("abcd"))
    row = measured_row(
        engine.row,
        [process],
        output_check.read_score_result(scored["torch"]),
        references / "torch.npy",
        truth,
        engine.thresholds,
        labels=LABELS.names,
        map_from=ScoreSource(device="here"),
    )
    assert (row.name, row.kind, row.model, row.status) == ("student-torch", "reference", "student", "measured")
    assert (row.sha256, row.runtime, row.map) == (sha256_of(folder / BEST), f"torch {torch.__version__}", 1)


@pytest.mark.usefixtures("same_process")
def test_load_time_includes_the_imports_of_the_fork_server(
    folder: Path, listed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_model, "IMPORTS_MS", 1e6)
    assert 1e6 < torch_model.bench(model(folder), torch_rows.parse(bench_options(listed)))["load_ms"] < 1.1e6


@pytest.mark.usefixtures("same_process")
def test_model_with_other_scores_than_the_eager_one_is_refused(
    folder: Path, files: list[Path], eager_scores: Any
) -> None:
    assert torch_model.check_scores(model(folder), files, eager_scores)["error"] is None
    with pytest.raises(ValueError, match=r"eager model within 0\.0001, got a difference of 0\.0002\d*$"):
        torch_model.check_scores(model(folder), files, eager_scores + np.float32(2e-4))


@pytest.mark.slow
def test_compiled_model_is_timed_and_scores_like_the_eager_one(
    recipe: Recipe, folder: Path, files: list[Path], listed: str, references: Path, eager_scores: Any
) -> None:
    torch_rows.compile_student(folder, ReferenceScores(eager_scores, HALF), 1, files, references)
    student = measured_models(recipe, folder, references, eager_scores)[1]
    assert student.engines[1].name == "student-torch-compile"
    timed = student.program(*bench_options(listed, "torch-compile"), timeout_s=300)
    assert timed["first_ms"] < 1000, "compiling belongs to loading"
    assert timed["ran"]["version"] == f"torch {torch.__version__}, torch.compile"
    modes = ["--engine", "torch", "--engine", "torch-compile"]
    scored = student.program("scores", *modes, "--images", listed, "--out", str(references), timeout_s=300)
    for mode in ("torch", "torch-compile"):
        assert scored[mode]["error"] is None
        np.testing.assert_array_equal(np.load(references / f"{mode}.npy"), eager_scores)


def without_compiler(*_: Any) -> Any:
    raise RuntimeError("No working C++ compiler found")


def test_row_of_a_model_that_cannot_be_compiled_gives_the_reason(
    recipe: Recipe, folder: Path, files: list[Path], listed: str, references: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_model, "check_scores", without_compiler)
    torch_rows.compile_student(folder, ReferenceScores(SCORES, HALF), 1, files, references)
    modes = ["--engine", "torch", "--engine", "torch-compile"]
    program = measured_models(recipe, folder, references)[1].program
    scored = program("scores", *modes, "--images", listed, "--out", str(references))
    assert scored["torch"]["error"] is None
    assert scored["torch-compile"]["error"] == "RuntimeError: No working C++ compiler found"


def test_only_a_single_teacher_in_torch_is_measured_and_caches_are_removed(
    recipe: Recipe, folder: Path, references: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = measured_models(recipe, folder, references)
    assert [engine.name for one in both for engine in one.engines] == ["teacher-torch", "student-torch"]
    caches = [one.program.cache for one in both]  # type: ignore[attr-defined]
    assert all(cache.is_dir() for cache in caches)
    both.clear()
    assert not any(cache.exists() for cache in caches)
    monkeypatch.setattr(teachers, "alone", lambda *_: None)
    names = [engine.name for one in measured_models(recipe, folder, references) for engine in one.engines]
    assert names == ["student-torch"]


def test_failure_of_a_process_is_raised_with_its_reason(tmp_path: Path, listed: str) -> None:
    with pytest.raises(ProcessFailedError, match=r"ValueError: checkpoint: expected the file .*best.safetensors"):
        run_in_process(torch_model.bench, model(tmp_path), torch_rows.parse(bench_options(listed)), timeout_s=100)
    with pytest.raises(ProcessFailedError, match="exit code 3: the process ended without an answer"):
        run_in_process(os._exit, 3, timeout_s=100)
    began = time.monotonic()
    with pytest.raises(ProcessFailedError, match=r"no answer within 0.2 s"):
        run_in_process(time.sleep, 100, timeout_s=0.2)
    assert time.monotonic() - began < 60, "the process is ended"


def test_output_of_a_process_is_discarded(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_in_process(print, "a warning of torch", timeout_s=100) is None
    assert "warning" not in "".join(capfd.readouterr())
