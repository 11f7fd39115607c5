"""Exact arithmetic for Q/DQ graphs, and machines whose int8 kernels saturate."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from export.backends import OnnxRuntime, OpenVino, openvino, saturation_probe
from export.errors import EngineError
from tests.helpers.saturating import bright_images, write_saturating_graph

EMULATOR = "qemu-x86_64-static"


def of_kernels(graph: Path, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    with OnnxRuntime().open_graph(graph) as session:
        assert session.runtime_info.compute == "int8"
        return session(images)


def of_exact(graph: Path, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    with OnnxRuntime().open_exact(graph) as session:
        assert session.runtime_info.compute == "f32"
        return session(images)


@pytest.mark.parametrize("unsigned", [True, False])
def test_exact_scores_are_those_of_the_operators_definition(tmp_path: Path, unsigned: bool) -> None:
    graph, images = write_saturating_graph(tmp_path / "g.onnx", unsigned=unsigned), bright_images(16)
    defined = ReferenceEvaluator(onnx.load(graph)).run(None, {"images": images})[0]
    np.testing.assert_allclose(of_exact(graph, images), defined, atol=1e-5)
    if saturation_probe.saturates():  # these kernels are why exact arithmetic is needed
        assert np.abs(of_kernels(graph, images) - defined).max() > 0.1


def test_openvino_computes_exactly_as_well(tmp_path: Path) -> None:
    """Its kernels saturate where those of ONNX Runtime do."""
    graph, images = write_saturating_graph(tmp_path / "g.onnx", unsigned=False), bright_images(16)
    with OpenVino().open_exact(graph) as session:
        assert session.runtime_info.compute == "f32"
        np.testing.assert_allclose(session(images), of_exact(graph, images), atol=1e-5)
    with OpenVino().open_graph(graph) as session:
        assert session.runtime_info.compute == "int8"
        if saturation_probe.saturates():
            assert np.abs(session(images) - of_exact(graph, images)).max() > 0.1


def test_an_openvino_that_multiplies_integers_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino, "EXACT", "ENABLE_CPU_PINNING")  # a property that changes nothing here
    graph = write_saturating_graph(tmp_path / "g.onnx", unsigned=False)
    with pytest.raises(EngineError, match=r"g\.onnx: expected products in float, got conv in integers"):
        OpenVino().open_exact(graph)


@pytest.mark.parametrize("unsigned", [True, False])
def test_seven_bits_do_not_saturate(tmp_path: Path, unsigned: bool) -> None:
    graph = write_saturating_graph(tmp_path / "g.onnx", unsigned=unsigned, weight_bits=7)
    images = bright_images(16)
    one_step = 0.25 * 4 / (255 if unsigned else 127)  # of the quantized output, through the sigmoid
    np.testing.assert_allclose(of_kernels(graph, images), of_exact(graph, images), atol=one_step)


def test_a_graph_with_integer_products_has_no_exact_form(tmp_path: Path) -> None:
    """QOperator format: the runtime multiplies integers whatever it is asked for."""
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", 4, 4, 3])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 5])
    nodes = [
        helper.make_node("Reshape", ["images", "shape"], ["flat"]),
        helper.make_node("MatMulInteger", ["flat", "w"], ["sums"], name="product"),
        helper.make_node("Cast", ["sums"], ["scores"], to=TensorProto.FLOAT),
    ]
    constants = [
        helper.make_tensor("shape", TensorProto.INT64, [2], [-1, 48]),
        helper.make_tensor("w", TensorProto.INT8, [48, 5], [1] * 240),
    ]
    graph = helper.make_graph(nodes, "integers", [images], [scores], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), tmp_path / "g.onnx")
    with pytest.raises(EngineError, match=r"g\.onnx: expected products in float, got product in integers"):
        OnnxRuntime().open_exact(tmp_path / "g.onnx")


def test_the_probe_is_a_product_of_integers() -> None:
    names = {"a": (TensorProto.UINT8, ["m", "k"]), "b": (TensorProto.INT8, ["k", "n"])}
    names["y"] = (TensorProto.INT32, ["m", "n"])
    a, b, y = (helper.make_tensor_value_info(name, *about) for name, about in names.items())
    graph = helper.make_graph([helper.make_node("MatMulInteger", ["a", "b"], ["y"])], "p", [a, b], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    assert model.SerializeToString() == saturation_probe.PROBE


@pytest.mark.skipif(sys.platform != "linux", reason="numpy and /proc/cpuinfo name features differently elsewhere")
def test_saturation_follows_the_instruction_set() -> None:
    from export.backends.stamp import instruction_set

    exact = ("amx_int8", "avx512_vnni", "avx_vnni", "neon_dotprod", "neon", "aarch64")
    assert saturation_probe.saturates() == (instruction_set() not in exact)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which(EMULATOR) is None, reason=f"needs {EMULATOR}: apt-get install qemu-user-static")
def test_an_emulated_processor_without_vnni_saturates() -> None:
    """The host may have VNNI, and /proc/cpuinfo says so."""
    code = (
        "from export.backends.saturation_probe import saturates\nfrom export.backends.stamp import instruction_set\n"
        "print(saturates(), instruction_set())"
    )
    command = [EMULATOR, "-cpu", "Haswell", sys.executable, "-c", code]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | {"LC_ALL": "C"})
    assert printed.stdout.split() == ["True", "avx2"], printed.stderr
