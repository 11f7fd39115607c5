"""TensorRT's real parser and builder, which need no GPU; running an engine does."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from export.backends import EngineRefused, MissingRuntime, TensorRt, cuda
from export.precision.fp16 import fp16
from export.precision.int8 import int8

pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX has wheels for x86-64 Linux only")


@pytest.fixture(scope="module")
def halved(fp32: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fp16(fp32, tmp_path_factory.mktemp("halved") / "fp16.onnx")


def test_builds_fp16_for_a_gpu_that_is_not_there(halved: Path, tmp_path: Path) -> None:
    engine = TensorRt().compile(halved, tmp_path)
    assert engine.name == "fp16-sm86.plan"
    assert engine.stat().st_size > 100_000
    assert TensorRt().files(engine) == (engine,)


def test_builds_int8(fp32: Path, calibration: NDArray[np.uint8], tmp_path: Path) -> None:
    quantised = int8(fp32, calibration, tmp_path / "int8.onnx")
    assert TensorRt(compute_capability="SM89").compile(quantised, tmp_path).name == "int8-sm89.plan"


def test_a_broken_graph_names_its_node(halved: Path, tmp_path: Path) -> None:
    model = onnx.load(halved)
    node = next(node for node in model.graph.node if node.op_type == "Softmax")
    node.op_type = "NoSuchOperator"
    onnx.save(model, tmp_path / "broken.onnx")
    with pytest.raises(EngineRefused, match=rf"node {node.name} \(NoSuchOperator\): .+"):
        TensorRt().compile(tmp_path / "broken.onnx", tmp_path)
    assert list(tmp_path.glob("*.plan")) == []


def test_no_graph_at_all(tmp_path: Path) -> None:
    (tmp_path / "random.onnx").write_bytes(b"\x08junk")
    with pytest.raises(EngineRefused, match=r"random.onnx: expected a graph that tensorrt_rtx parses, got "):
        TensorRt().compile(tmp_path / "random.onnx", tmp_path)


def test_messages_go_to_logging(halved: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="export.backends.tensorrt"):
        TensorRt().compile(halved, tmp_path)
    assert [record for record in caplog.records if record.name == "export.backends.tensorrt"]


def test_without_a_gpu_it_says_so(halved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = TensorRt().compile(halved, tmp_path)
    monkeypatch.setattr(cuda, "LIBRARY", "libcuda-that-is-not-there.so.1")
    assert "expected an NVIDIA driver" in str(TensorRt().missing())
    with pytest.raises(MissingRuntime, match="run it on a machine with an NVIDIA GPU"):
        TensorRt().open(engine)


def test_another_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "missing", lambda: None)
    monkeypatch.setattr(cuda, "compute_capability", lambda: "SM89")
    assert TensorRt(compute_capability="SM89").missing() is None
    assert "expected a GPU of SM86, got SM89" in str(TensorRt().missing())


def test_an_unknown_compute_capability() -> None:
    with pytest.raises(ValueError, match=r"compute_capability: expected one of SM75, .*got 'SM87'"):
        TensorRt(compute_capability="SM87")  # type: ignore[arg-type]
