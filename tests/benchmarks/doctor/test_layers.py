"""Real int8 engines that gain nothing, read through their runtimes' own profiles."""

import functools
import platform
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.doctor import onnxruntime, openvino
from benchmarks.doctor.findings import Finding, find
from benchmarks.doctor.layers import Layer, least
from export.backends import OnnxRuntime, OpenVino
from export.precision.int8 import int8, int8_x86
from tests.helpers.convolutions import write_convolutions

CONVOLUTIONS = {f"backbone.blocks.{at}/Conv_0" for at in range(3)}
Quantise = Callable[[Path, NDArray[np.uint8], Path], Path]
X86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="kernels of x86")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("layers")
    for activation in ("Relu", "HardSwish"):
        write_convolutions(folder / f"{activation}.onnx", activation)
    return folder


@pytest.fixture(autouse=True)
def fewer_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO compiles in every round."""
    monkeypatch.setattr(openvino, "ROUNDS", 2)


@functools.cache
def quantised(work: Path, activation: str, quantise: Quantise) -> Path:
    images = np.random.default_rng(1).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    return quantise(work / f"{activation}.onnx", images, work / f"{activation}_{quantise.__name__}.onnx")


@functools.cache
def in_float(work: Path, activation: str) -> list[Layer]:
    return onnxruntime.layers(work / f"{activation}.onnx", OnnxRuntime())


def examined(work: Path, activation: str, quantise: Quantise) -> tuple[list[Layer], dict[str, Finding]]:
    layers, plain = onnxruntime.layers(quantised(work, activation, quantise), OnnxRuntime()), in_float(work, activation)
    return layers, {finding.cause: finding for finding in find(layers, plain, quantise.__name__)}


def products(layers: list[Layer], computes: str) -> set[str]:
    return {layer.name for layer in layers if layer.role == "product" and layer.computes == computes}


@X86
def test_a_signed_graph_runs_its_convolutions_in_float(work: Path) -> None:
    """The slow case of ONNX Runtime on x86: a ReLU in front of the quantise keeps every convolution in float."""
    layers, findings = examined(work, "Relu", int8)
    assert products(layers, "int8") == set()
    finding = findings["dequantised products"]
    assert set(finding.layers) == CONVOLUTIONS
    assert finding.text.startswith("3 of 4 products")
    assert "3 Relu" in finding.text
    assert "int8_x86" in finding.change
    assert findings["pairs"].text.startswith("8 DequantizeLinear, 3 QuantizeLinear")
    assert 0.2 < finding.share < 1


@X86
def test_an_unsigned_graph_does_not(work: Path) -> None:
    layers, findings = examined(work, "Relu", int8_x86)
    assert products(layers, "int8") == CONVOLUTIONS
    assert products(layers, "f32") == {"head/MatMul_0"}
    assert "dequantised products" not in findings


@X86
def test_pairs_around_an_activation_do_not_fuse(work: Path) -> None:
    layers, findings = examined(work, "HardSwish", int8_x86)
    assert products(layers, "int8") == CONVOLUTIONS
    between = findings["float operators between pairs"]
    assert "3 HardSigmoid, 3 Mul" in between.text, "what the runtime makes of a HardSwish"
    assert "DequantizeLinear" in findings["pairs"].text
    for finding in (between, findings["pairs"]):
        assert finding.change.startswith("take a net without HardSigmoid there (ReLU")


def test_a_float_engine_has_neither_pairs_nor_islands(work: Path) -> None:
    layers = in_float(work, "Relu")
    assert products(layers, "f32") == CONVOLUTIONS | {"head/MatMul_0"}
    assert not [layer for layer in layers if layer.island or layer.role == "pair"]
    assert all(layer.milliseconds > 0 for layer in layers if layer.role == "product")


def test_openvino_names_our_layers_and_its_kernels(work: Path) -> None:
    plain = openvino.layers(work / "Relu.onnx", OpenVino())
    assert products(plain, "f32") == CONVOLUTIONS | {"head/MatMul_0"}
    assert all(layer.kernel for layer in plain)
    layers = openvino.layers(quantised(work, "Relu", int8), OpenVino())
    assert products(layers, "int8") == CONVOLUTIONS, "it fuses what ONNX Runtime does not"
    assert products(layers, "f32") == {"head/MatMul_0"}
    assert [layer.operator for layer in layers if layer.role == "pair"] == ["FakeQuantize"], "the one in front"
    told = {finding.cause: finding for finding in find(layers, plain, "int8")}
    assert told["float products"].layers == ("head/MatMul_0",)
    assert "dequantised products" not in told


def test_a_reorder_that_changes_the_type_is_half_of_a_pair() -> None:
    assert openvino.role("Reorder", "a/Conv_0_f32_u8_b/Conv_0") == "pair"
    assert openvino.role("Reorder", "a/Conv_0_i8_bf16_b/Conv_0") == "pair"
    assert openvino.role("Reorder", "a/Conv_0_acdb_abcd_b/Conv_0") == "reorder"
    assert openvino.role("GroupConvolution", "a/Conv_0") == "product"
    assert openvino.role("Add", "a/Add_0") == "other"


def test_openvinos_reorders_around_an_activation(work: Path) -> None:
    layers = openvino.layers(quantised(work, "HardSwish", int8), OpenVino())
    told = {finding.cause: finding for finding in find(layers, [], "int8")}
    moved = [layer for layer in layers if layer.role == "reorder"]
    assert len(moved) >= 3, "in front of or behind each HardSwish"
    assert set(told["reorders"].layers) == {layer.name for layer in moved}


def test_the_least_time_of_every_layer_counts() -> None:
    timed = [("a", 3.0), ("b", 1.0), ("a", 2.0), ("b", 5.0), ("twice", 1.0), ("twice", 1.0), ("twice", 9), ("twice", 2)]
    assert least(timed, 2) == {"a": 2.0, "b": 1.0, "twice": 2.0}
