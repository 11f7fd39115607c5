"""The two families of Q/DQ graphs: what is quantised, how, and that scores stay float."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, numpy_helper

from export import graph
from export.backends import OnnxRuntime
from export.precision.int8 import int8
from export.precision.int8_x86 import int8_x86
from mlkd.metrics import mean_average_precision

FAMILIES = {"int8": int8, "int8_x86": int8_x86}


@pytest.fixture(scope="module")
def models(
    fp32: Path, calibration: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, onnx.ModelProto]:
    folder = tmp_path_factory.mktemp("qdq")
    files = {name: make(fp32, calibration, folder / f"{name}.onnx") for name, make in FAMILIES.items()}
    return {name: onnx.load(file) for name, file in files.items()}


@pytest.fixture(scope="module")
def scores(
    models: dict[str, onnx.ModelProto], pictures: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, NDArray[np.float32]]:
    found = {}
    for name, model in models.items():
        file = tmp_path_factory.mktemp("scores") / f"{name}.onnx"
        onnx.save(model, file)
        with OnnxRuntime().open(file) as session:
            assert session.ran.compute == "int8"
            found[name] = session(pictures)
    return found


@pytest.mark.parametrize("name", FAMILIES)
def test_scores_stay_float(scores: dict[str, NDArray[np.float32]], expected: NDArray[np.float32], name: str) -> None:
    assert len(np.unique(scores[name])) > 0.95 * len(np.unique(expected))


@pytest.mark.parametrize("name", FAMILIES)
def test_keeps_the_map(
    scores: dict[str, NDArray[np.float32]],
    expected: NDArray[np.float32],
    targets: NDArray[np.uint8],
    name: str,
) -> None:
    before = mean_average_precision(expected, targets)
    assert before > 0.8, "the tagger of these tests has to have learnt something"
    assert mean_average_precision(scores[name], targets) > 0.99 * before
    assert not np.array_equal(scores[name], expected)


@pytest.mark.parametrize("name", FAMILIES)
def test_ends_are_not_quantised(models: dict[str, onnx.ModelProto], name: str) -> None:
    model = models[name]
    quantised = {value for node in model.graph.node if "QuantizeLinear" in node.op_type for value in node.output}
    for node in model.graph.node:
        if node.op_type in ("Sub", "Div", "Sigmoid", "Squeeze", "Softmax", "LayerNormalization"):
            assert not quantised & {*node.input}, node.name
        if node.name == "head/MatMul_2":
            assert not quantised & {*node.input}


@pytest.mark.parametrize(("name", "activation"), [("int8", TensorProto.INT8), ("int8_x86", TensorProto.UINT8)])
def test_types(models: dict[str, onnx.ModelProto], name: str, activation: int) -> None:
    model = models[name]
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            assert tensors[node.input[2]].data_type == activation
            assert tensors[node.input[1]].dims == [], "activations have one scale"
    weights = [node for node in model.graph.node if node.op_type == "DequantizeLinear" and node.input[0] in tensors]
    int8_weights = [node for node in weights if tensors[node.input[0]].data_type == TensorProto.INT8]
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    assert len(int8_weights) >= len(convolutions) > 10
    assert all(len(tensors[node.input[1]].dims) == 1 for node in int8_weights), "weights have a scale a channel"


def test_signed_graph_is_what_tensorrt_takes(models: dict[str, onnx.ModelProto]) -> None:
    tensors = {tensor.name: tensor for tensor in models["int8"].graph.initializer}
    for node in models["int8"].graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            assert not numpy_helper.to_array(tensors[node.input[2]]).any(), "zero points are 0"
        if node.op_type == "DequantizeLinear" and node.input[0] in tensors:
            assert tensors[node.input[0]].data_type == TensorProto.INT8, "a bias was quantised"


def test_both_branches_of_a_residual(models: dict[str, onnx.ModelProto]) -> None:
    model = models["int8"]
    producers: dict[str, NodeProto] = {value: node for node in model.graph.node for value in node.output}
    tensors = {tensor.name for tensor in model.graph.initializer}
    residual = [
        node
        for node in model.graph.node
        if node.op_type == "Add" and node.name.startswith("backbone") and not tensors & set(node.input)
    ]
    assert residual
    for node in residual:
        assert [producers[name].op_type for name in node.input] == ["DequantizeLinear"] * 2, node.name


@pytest.mark.parametrize("name", FAMILIES)
def test_metadata(models: dict[str, onnx.ModelProto], fp32: Path, name: str) -> None:
    assert graph.read_metadata(models[name]) == graph.read_metadata(onnx.load(fp32)) | {"precision": name}


@pytest.mark.parametrize("name", FAMILIES)
def test_again_gives_equal_bytes(
    models: dict[str, onnx.ModelProto], fp32: Path, calibration: NDArray[np.uint8], tmp_path: Path, name: str
) -> None:
    again = FAMILIES[name](fp32, calibration, tmp_path / "again.onnx")
    assert again.read_bytes() == models[name].SerializeToString(deterministic=True)


@pytest.mark.parametrize("images", [np.zeros((0, 32, 32, 3), np.uint8), np.zeros((4, 32, 32, 3), np.float32)])
def test_nothing_to_calibrate_on(fp32: Path, tmp_path: Path, images: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match=r"calibration: expected uint8 \(K, H, W, 3\) with K >= 1, got"):
        int8(fp32, images, tmp_path / "no.onnx")
