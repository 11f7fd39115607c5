"""Engines of TensorRT on a GPU: as ONNX Runtime on the CPU scores the same graph."""

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from export.backends import OnnxRuntime, TensorRt, cuda, stamp
from export.errors import EngineError
from mlkd.core.metrics import mean_average_precision

pytestmark = pytest.mark.gpu
HERE = TensorRt(compute_capability="device")


@pytest.fixture(autouse=True)
def _device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if (reason := HERE.unavailable_reason()) is not None:
        pytest.skip(reason)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def graphs(fp32: Path, halved: Path, quantized: Path) -> dict[str, Path]:
    return {"fp32": fp32, "fp16": halved, "int8": quantized}


# Products of fp32 are so, not of TF32; those of fp16 are summed in another order than ONNX Runtime's.
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("fp16", 5e-3)])
@pytest.mark.parametrize("batch", [1, 3, 8])
def test_agrees_with_onnx_runtime(
    graphs: dict[str, Path], images: NDArray[np.uint8], tmp_path: Path, precision: str, tolerance: float, batch: int
) -> None:
    graph = graphs[precision]
    with HERE.open(HERE.compile(graph, tmp_path)) as session, OnnxRuntime().open(_reference(graph, tmp_path)) as cpu:
        np.testing.assert_allclose(session(images[:batch]), cpu(images[:batch]), rtol=0, atol=tolerance)


def test_runs_in_another_thread(fp32: Path, images: NDArray[np.uint8], tmp_path: Path) -> None:
    """A CUDA context is current in the thread that made it, and in no other by itself."""
    with HERE.open(HERE.compile(fp32, tmp_path)) as session, ThreadPoolExecutor(1) as other:
        np.testing.assert_array_equal(other.submit(session, images[:3]).result(), session(images[:3]))


def test_int8_keeps_the_map(
    quantized: Path, images: NDArray[np.uint8], targets: NDArray[np.uint8], tmp_path: Path
) -> None:
    reference = _reference(quantized, tmp_path)
    with HERE.open(HERE.compile(quantized, tmp_path)) as session, OnnxRuntime().open(reference) as cpu:
        found = [mean_average_precision(_scores(one, images), targets) for one in (session, cpu)]
    assert found[0] > found[1] - 0.01


@pytest.mark.parametrize(("precision", "compute"), [("fp32", "f32"), ("fp16", "f16"), ("int8", "unknown")])
def test_says_what_it_runs_on(graphs: dict[str, Path], tmp_path: Path, precision: str, compute: str) -> None:
    with HERE.open(HERE.compile(graphs[precision], tmp_path)) as session:
        ran = session.runtime_info
    assert (ran.device, ran.placed, ran.compute) == (cuda.compute_capability(), 1.0, compute)
    assert session.max_batch == 32


def test_a_damaged_plan(fp32: Path, tmp_path: Path) -> None:
    engine = HERE.compile(fp32, tmp_path)
    whole = engine.read_bytes()
    engine.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(EngineError, match="expected a plan for this GPU and version, got"):
        HERE.open(engine)


def test_kernels_are_kept(
    fp32: Path, images: NDArray[np.uint8], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of TensorRT for RTX only; damaged ones are compiled again."""
    engine = HERE.compile(fp32, tmp_path)
    if stamp.read(engine).runtime.split()[0] != "tensorrt_rtx":
        pytest.skip("the full library compiles nothing at run time")
    with HERE.open(engine) as session:
        first = session(images[:3])
    (kept,) = (tmp_path / "cache/edge-tagger/kernels").iterdir()
    before = kept.stat().st_mtime_ns
    with HERE.open(engine) as session:
        session(images[:3])
    assert kept.stat().st_mtime_ns == before, "nothing new was compiled"
    kept.write_bytes(b"damaged")
    with caplog.at_level(logging.WARNING), HERE.open(engine) as session:
        np.testing.assert_array_equal(session(images[:3]), first)
    assert "got a damaged one; creating it again" in caplog.text
    assert kept.read_bytes() != b"damaged"


def test_timings_are_kept(fp32: Path, tmp_path: Path) -> None:
    """Of the full library only."""
    engine = HERE.compile(fp32, tmp_path)
    if stamp.read(engine).runtime.split()[0] != "tensorrt":
        pytest.skip("TensorRT for RTX measures nothing while it builds")
    (kept,) = tmp_path.glob("cache/edge-tagger/timings/tensorrt-*")
    kept.write_bytes(b"damaged")
    with HERE.open(HERE.compile(fp32, tmp_path)):
        assert kept.read_bytes() != b"damaged"


def _reference(graph: Path, folder: Path) -> Path:
    return OnnxRuntime().compile(graph, folder / "reference")


def _scores(session: Any, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.concatenate([session(images[at : at + 8]) for at in range(0, len(images), 8)])
