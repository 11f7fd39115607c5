"""What is particular to ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from export.backends import EngineRefused, MissingRuntime, OnnxRuntime, cuda


def test_runs_on_the_provider_asked_for(fp32: Path) -> None:
    with OnnxRuntime(threads=2).open(fp32) as session:
        assert (session.ran.provider, session.ran.device, session.ran.compute) == ("CPUExecutionProvider", "cpu", "f32")


def test_cuda_without_a_gpu_never_runs_on_the_cpu(fp32: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "LIBRARY", "libcuda-that-is-not-there.so.1")
    with pytest.raises(MissingRuntime, match="expected an NVIDIA driver"):
        OnnxRuntime(device="cuda").open(fp32)


def test_a_graph_that_is_no_tagger(tmp_path: Path) -> None:
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 8, 8])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 3, 8, 8])
    graph = helper.make_graph([helper.make_node("Relu", ["images"], ["scores"])], "g", [images], [scores])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(EngineRefused, match=r"expected uint8 \(batch, H, W, 3\) to float scores.*tensor\(float\)"):
        OnnxRuntime().open(tmp_path / "other.onnx")


def test_compile_refuses_what_it_cannot_read(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"\x08junk")
    with pytest.raises(EngineRefused, match=r"broken.onnx: expected a graph for ONNX Runtime, got: "):
        OnnxRuntime().compile(tmp_path / "broken.onnx", tmp_path / "out")


@pytest.mark.parametrize("fields", [{"device": "tpu"}, {"threads": 0}])
def test_fields_out_of_range(fields: dict[str, object]) -> None:
    name, value = next(iter(fields.items()))
    with pytest.raises(ValueError, match=rf"onnxruntime.{name}: expected .*got '?{value}"):
        OnnxRuntime(**fields)  # type: ignore[arg-type]
