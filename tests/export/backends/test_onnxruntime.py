"""What is particular to ONNX Runtime."""

import importlib.abc
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import ModelProto

from export.backends import OnnxRuntime, OpenVino, cuda, onnxruntime_kernels
from export.backends.onnxruntime_kernels import Kernel, compute, placed
from export.errors import EngineError, MissingRuntimeError
from export.precision.int8 import int8_x86

ROOT = Path(__file__).parents[3]


def test_runs_on_the_provider_asked_for(fp32: Path) -> None:
    with OnnxRuntime(threads=2).open_graph(fp32) as session:
        assert (session.runtime_info.provider, session.runtime_info.device, session.runtime_info.compute) == (
            "CPUExecutionProvider",
            "cpu",
            "f32",
        )


def test_cuda_without_a_gpu_never_runs_on_the_cpu(fp32: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "LIBRARY", "libcuda-that-is-not-there.so.1")
    with pytest.raises(MissingRuntimeError, match="expected an NVIDIA driver"):
        OnnxRuntime(device="cuda").open_graph(fp32)


def test_cuda_that_the_runtime_cannot_load_never_runs_on_the_cpu(fp32: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver seems to be there, the provider does not start: the runtime itself would go on on the CPU."""
    if cuda.unavailable_reason() is None:
        pytest.skip("there is a GPU here")
    monkeypatch.setattr(cuda, "unavailable_reason", lambda: None)
    with pytest.raises((MissingRuntimeError, EngineError), match="CUDAExecutionProvider"):
        OnnxRuntime(device="cuda").open_graph(fp32)


def test_an_int8_graph_says_what_its_products_really_run_in(
    fp32: Path, calibration: NDArray[np.uint8], tmp_path: Path
) -> None:
    quantized = onnx.load(int8_x86(fp32, calibration, tmp_path / "int8.onnx"))
    with OnnxRuntime().open_graph(tmp_path / "int8.onnx") as session:
        assert session.runtime_info.compute == "int8"
    onnx.save(_without_activations(quantized), tmp_path / "weights.onnx")
    with OnnxRuntime().open_graph(tmp_path / "weights.onnx") as session:
        assert session.runtime_info.compute == "f32", "its metadata still says int8_x86"


def test_a_profile_that_was_cut_off(tmp_path: Path) -> None:
    """As it is where the temporary folder is full."""
    file = tmp_path / "profile.json"
    file.write_text('[{"cat": "Node", "na')
    with pytest.raises(OSError, match=rf"{tmp_path}: expected room for the profile of one run.*set TMPDIR"):
        onnxruntime_kernels.read_profile(file)


def test_counts_what_ran_elsewhere() -> None:
    gpu, cpu = "CUDAExecutionProvider", "CPUExecutionProvider"
    on_gpu = [
        _kernel("a", "Conv", gpu, "float"),
        _kernel("b", "Add", gpu, "float"),
        _kernel("c", "Shape", gpu, "int64"),
    ]
    shape = _kernel("d", "Gather", cpu, "int64")
    assert placed(Path("e"), on_gpu, gpu) == 1
    assert placed(Path("e"), [*on_gpu, shape], gpu) == 0.75
    with pytest.raises(EngineError, match=r"expected all nodes on CUDA.*got head/Softmax_0 on CPUExecutionProvider"):
        placed(Path("e"), [*on_gpu, _kernel("head/Softmax_0", "Softmax", cpu, "float")], gpu)


def test_the_commonest_product_decides() -> None:
    kernels = [_kernel("a", "QLinearConv", "p", "uint8"), _kernel("b", "FusedMatMul", "p", "float16")]
    assert compute([*kernels, _kernel("c", "MatMulIntegerToFloat", "p", "int8")]) == "int8"
    assert compute([*kernels[1:], _kernel("d", "QuantizeLinear", "p", "float")]) == "f16"
    assert compute([_kernel("d", "QuantizeLinear", "p", "float")]) == "none"


@pytest.mark.parametrize("damage", [lambda data: b"\x08junk", lambda data: data[: len(data) // 2], lambda data: b""])
def test_compile_refuses_what_it_cannot_read(fp32: Path, tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    (tmp_path / "broken.onnx").write_bytes(damage(fp32.read_bytes()))
    with pytest.raises(EngineError, match=r"broken.onnx: expected a graph for ONNX Runtime, got: "):
        OnnxRuntime().compile(tmp_path / "broken.onnx", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_opset_newer_than_the_runtime(fp32: Path, tmp_path: Path) -> None:
    model = onnx.load(fp32)
    model.opset_import[0].version = 99
    onnx.save(model, tmp_path / "new.onnx")
    with pytest.raises(EngineError, match=rf"expected opset \d+ or older.*{onnxruntime.__version__}.*got opset 99"):
        OnnxRuntime().open_graph(tmp_path / "new.onnx")
    model.opset_import[0].version, model.ir_version = 20, 99
    onnx.save(model, tmp_path / "new.onnx")
    with pytest.raises(EngineError, match=r"expected IR version \d+ or older.*got IR version 99"):
        OnnxRuntime().open_graph(tmp_path / "new.onnx")


def test_a_graph_that_changed_after_it_was_stamped(fp32: Path, tmp_path: Path) -> None:
    engine = OnnxRuntime().compile(fp32, tmp_path)
    model = onnx.load(engine)
    model.producer_name = "somebody else"
    onnx.save(model, engine)
    with pytest.raises(EngineError, match=r"expected the graph [0-9a-f]{12}… of its stamp, got "):
        OnnxRuntime().open(engine)


def test_its_threads_do_not_wait_actively_between_images() -> None:
    options = OnnxRuntime(threads=2).options()
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_leaves_no_profile_behind(fp32: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with OnnxRuntime().open_graph(fp32) as session:
        session(np.zeros((1, *session.image), np.uint8))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("package", ["mlkd", "export"])
def test_writes_nothing_about_the_user(fp32: Path, tmp_path: Path, package: str) -> None:
    """Whichever of our packages imports the runtime: it would keep an identity and events for its makers."""
    code = f"""import {package}, onnxruntime, sys
onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])"""
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment["XDG_CACHE_HOME"] = str(tmp_path)
    subprocess.run([sys.executable, "-c", code, str(fp32)], env=environment, cwd=ROOT, check=True)
    assert list(tmp_path.iterdir()) == []


def _kernel(name: str, operator: str, provider: str, reads: str) -> Kernel:
    return Kernel(name=name, operator=operator, provider=provider, reads=reads, milliseconds=1)


def _without_activations(model: ModelProto) -> ModelProto:
    """The model with the Q/DQ pairs of activations taken out; those of weights stay."""
    weights = {tensor.name for tensor in model.graph.initializer}
    quantized = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    through = {
        node.output[0]: quantized[node.input[0]]
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] not in weights
    }
    kept = [node for node in model.graph.node if node.output[0] not in {**quantized, **through}]
    for node in kept:
        for index, name in enumerate(node.input):
            node.input[index] = through.get(name, name)
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in kept]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


@pytest.mark.parametrize(
    ("cause", "got"),
    [
        (ModuleNotFoundError("No module named 'onnxruntime'", name="onnxruntime"), "none"),
        (ImportError("libgomp.so.1: cannot open shared object file"), "libgomp.so.1: cannot open shared object file"),
    ],
)
def test_a_package_that_is_there_and_broken_is_not_called_missing(
    monkeypatch: pytest.MonkeyPatch, cause: ImportError, got: str
) -> None:
    class Broken(importlib.abc.MetaPathFinder):
        def find_spec(self, name: str, *_: object) -> None:
            if name in ("onnxruntime", "openvino"):
                raise type(cause)(str(cause).replace("onnxruntime", name), name=cause.name and name)

    for name in ("onnxruntime", "openvino"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    for name, backend in (("onnxruntime", OnnxRuntime()), ("openvino", OpenVino())):
        step = (
            f"pip install {name}"
            if got == "none"
            else f"pip install --force-reinstall {name}, or another version of it"
        )
        assert backend.unavailable_reason() == f"{name}: expected the package {name}, got {got}; {step}"
