"""What is particular to OpenVINO."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest
from numpy.typing import NDArray

from export.backends import OpenVino, host, openvino_layers
from export.errors import EngineError, MissingRuntimeError


@pytest.fixture(scope="module")
def engine(fp32: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return OpenVino().compile(fp32, tmp_path_factory.mktemp("openvino"))


def test_weights_are_not_halved(engine: Path, fp32: Path) -> None:
    """Stored as fp16, the default of the runtime, they would take half of the graph's size."""
    assert engine.with_suffix(".bin").stat().st_size > 0.6 * fp32.stat().st_size
    ports = (port for node in openvino.Core().read_model(engine).get_ordered_ops() for port in node.outputs())
    assert "f16" not in {port.get_element_type().get_type_name() for port in ports}


def test_holds_nothing_of_the_machine(engine: Path) -> None:
    text = engine.read_text()
    assert str(Path(__file__).parents[3]) not in text
    assert "/tmp" not in text


def test_bf16_is_computed_or_refused(engine: Path, images: NDArray[np.uint8], expected: NDArray[np.float32]) -> None:
    able = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    backend = OpenVino(compute="bf16")
    if not able:
        with pytest.raises(MissingRuntimeError, match="expected a CPU that computes bf16"):
            backend.open(engine)
        return
    with backend.open(engine) as session, OpenVino().open(engine) as exact:
        assert (session.runtime_info.compute, exact.runtime_info.compute) == ("bf16", "f32")
        apart = np.abs(session(images) - expected)
        assert 1e-5 < apart.max() < 0.1, "bf16 has 8 bits of mantissa"
        assert np.abs(exact(images) - expected).max() < 1e-5


def test_a_precision_the_device_lacks_is_an_error(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = openvino.Core.get_property
    monkeypatch.setattr(
        openvino.Core, "get_property", lambda core, *key: ["FP32"] if len(key) == 2 else real(core, *key)
    )
    with pytest.raises(MissingRuntimeError, match=r"expected a CPU that computes bf16, got \['FP32'\]"):
        OpenVino(compute="bf16").open(engine)


@pytest.mark.parametrize(
    ("device", "lacking"), [("NPU.7", "NPU.7"), ("AUTO:TPU,CPU", "TPU"), ("HETERO:CPU,TPU", "TPU")]
)
def test_a_device_that_is_not_there(engine: Path, device: str, lacking: str) -> None:
    with pytest.raises(MissingRuntimeError, match=rf"expected the device {lacking}, got \[.*'CPU'"):
        OpenVino(device=device).open(engine)


@pytest.mark.parametrize("device", ["CPU", "AUTO", "AUTO:CPU", "HETERO:CPU"])
def test_says_which_device_it_got(engine: Path, device: str, images: NDArray[np.uint8]) -> None:
    with OpenVino(device=device).open(engine) as session:
        assert session(images[:2]).shape[0] == 2
        assert session.runtime_info.placed == 1
        assert "CPU" in session.runtime_info.device or device == "AUTO"


def test_threads_hold_behind_auto(engine: Path) -> None:
    compiled = openvino.Core().compile_model(str(engine), "AUTO:CPU", OpenVino(device="AUTO:CPU").settings())
    assert compiled.get_property("DEVICE_PROPERTIES")["CPU"]["INFERENCE_NUM_THREADS"] == 1


def test_an_only_gpu_may_be_called_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino.Core, "available_devices", ["CPU", "GPU"])
    monkeypatch.setattr(openvino.Core, "get_property", lambda core, device, name: ["FP32"])
    assert OpenVino(device="GPU.0").unavailable_reason() is None
    assert "expected the device GPU.1, got ['CPU', 'GPU']" in str(OpenVino(device="GPU.1").unavailable_reason())
    assert "expected the device CPU.0" in str(OpenVino(device="HETERO:GPU,CPU.0").unavailable_reason())


class _Compiled:
    def get_property(self, name: str) -> list[str]:
        return ["GPU.0", "CPU"]


class _Core:
    def query_model(self, network: str, device: str) -> dict[str, str]:
        return {"a": "GPU.0", "b": "GPU.0", "c": "GPU.0", "d": "CPU"}


def test_other_devices_than_asked_for() -> None:
    assert openvino_layers.devices(Path("e"), _Compiled(), ("GPU", "CPU")) == ["GPU.0", "CPU"]
    with pytest.raises(MissingRuntimeError, match=r"e: expected GPU, got \['GPU.0', 'CPU'\]"):
        openvino_layers.devices(Path("e"), _Compiled(), ("GPU",))
    assert openvino_layers.placed(_Core(), "", "HETERO:GPU.0,CPU") == 0.75
    assert openvino_layers.placed(_Core(), "", "HETERO:CPU,GPU.0") == 0.25


class _Layer:
    def __init__(self, kind: str, precision: str) -> None:
        self.about = {"layerType": kind, "runtimePrecision": precision}

    def get_rt_info(self) -> dict[str, str]:
        return self.about

    def get_friendly_name(self) -> str:
        return "layer"


class _Layers:
    """A compiled model with a product in each of these types, behind a cast."""

    def __init__(self, *precisions: str) -> None:
        self.layers = [_Layer("Convert", "f64"), *(_Layer("Convolution", one) for one in precisions)]

    def get_runtime_model(self) -> _Layers:
        return self

    def get_ordered_ops(self) -> list[_Layer]:
        return self.layers


@pytest.mark.parametrize(
    ("asked", "precisions", "told"),
    [
        ("f32", ["f32", "f32"], "f32"),
        ("f32", ["i8", "u8", "f32"], "int8"),
        ("bf16", ["i8", "i8"], "int8"),
        ("bf16", ["f32", "bf16", "bf16"], "bf16"),
        ("f16", ["i8", "i8", "f16"], "int8"),
    ],
)
def test_products_that_run_as_asked(asked: str, precisions: list[str], told: str) -> None:
    assert openvino_layers.compute(Path("e"), _Layers(*precisions), asked) == told


@pytest.mark.parametrize(
    ("asked", "precisions", "got"),
    [
        ("f32", ["bf16", "f32", "bf16", "i8"], "2 in bf16, 1 in f32"),
        ("f32", ["f32", "f32", "f16"], "2 in f32, 1 in f16"),
        ("bf16", ["f32", "f32", "bf16"], "2 in f32, 1 in bf16"),
        ("f16", ["i8", "f32"], "1 in f32"),
    ],
)
def test_a_mixture_of_products_is_refused(asked: str, precisions: list[str], got: str) -> None:
    with pytest.raises(MissingRuntimeError, match=f"e: expected float products in {asked}, got {got}; choose another"):
        openvino_layers.compute(Path("e"), _Layers(*precisions), asked)


def test_int8_weights_in_a_float_kernel_are_no_int8_product() -> None:
    weights, product = _Layer("FullyConnected", "i8"), _Layer("FullyConnected", "i8")
    weights.about["primitiveType"], product.about["primitiveType"] = "undef_f32", "brgemm_avx2_I8"
    layers = _Layers()
    layers.layers = [weights]
    assert openvino_layers.integer(layers) == []
    layers.layers = [weights, product]
    assert openvino_layers.integer(layers) == ["layer"]


def test_a_cpu_that_only_imitates_bf16(engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "proc").mkdir()
    for flags, able in (("avx2 avx512f avx512_vnni", False), ("avx512f avx512_bf16", True), ("amx_bf16", True)):
        (tmp_path / "proc/cpuinfo").write_text(f"flags\t\t: fpu {flags}\n")
        assert host.computes_bf16(tmp_path) is able
    assert host.computes_bf16(tmp_path / "none"), "a system that does not say is believed"
    monkeypatch.setattr(host, "computes_bf16", lambda: False)
    with pytest.raises(MissingRuntimeError, match="expected a CPU that computes bf16"):
        OpenVino(compute="bf16").open(engine)
    OpenVino().open(engine).close()


def test_a_corrupt_onnx(fp32: Path, tmp_path: Path) -> None:
    (tmp_path / "half.onnx").write_bytes(fp32.read_bytes()[:5000])
    with pytest.raises(EngineError, match=r"half.onnx: expected a graph for OpenVINO, got"):
        OpenVino().compile(tmp_path / "half.onnx", tmp_path / "out")


def test_operators_newer_than_the_runtime(fp32: Path, tmp_path: Path) -> None:
    model = onnx.load(fp32)
    model.opset_import[0].version = 99
    next(node for node in model.graph.node if node.op_type == "Softmax").op_type = "Hardmaxout"
    onnx.save(model, tmp_path / "new.onnx")
    with pytest.raises(EngineError, match=r"operators that openvino \d.* knows, got .*Hardmaxout-99"):
        OpenVino().compile(tmp_path / "new.onnx", tmp_path / "out")


def test_without_its_weights(engine: Path, tmp_path: Path) -> None:
    (tmp_path / "alone.xml").write_bytes(engine.read_bytes())
    with pytest.raises(EngineError, match=r"expected its weights alone.bin beside it, got none"):
        OpenVino().open_graph(tmp_path / "alone.xml")
