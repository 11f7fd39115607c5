"""The two families of Q/DQ graphs: what is quantized, how, and that scores stay float."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from export.backends import OnnxRuntime
from export.onnx import graph
from export.precision.int8 import FAMILIES, INT8, INT8_X86, int8, int8_x86
from export.precision.qdq import check_signed, layers, quantize
from export.precision.ranges import Ranges
from mlkd.core.metrics import mean_average_precision

FROM_IMAGES = {"int8": int8, "int8_x86": int8_x86}


@pytest.fixture(scope="module")
def models(fp32: Path, min_max: Ranges, tmp_path_factory: pytest.TempPathFactory) -> dict[str, onnx.ModelProto]:
    folder = tmp_path_factory.mktemp("qdq")
    files = {name: quantize(fp32, min_max, folder / f"{name}.onnx", family) for name, family in FAMILIES.items()}
    return {name: onnx.load(file) for name, file in files.items()}


@pytest.fixture(scope="module")
def scores(
    models: dict[str, onnx.ModelProto], images: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, NDArray[np.float32]]:
    found = {}
    for name, model in models.items():
        file = tmp_path_factory.mktemp("scores") / f"{name}.onnx"
        onnx.save(model, file)
        with OnnxRuntime().open_graph(file) as session:
            # a clip behind a convolution is no range of signed numbers, so ONNX Runtime fuses the unsigned graph alone
            assert session.runtime_info.compute == {"int8": "f32", "int8_x86": "int8"}[name]
            found[name] = session(images)
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
def test_ends_are_not_quantized(models: dict[str, onnx.ModelProto], name: str) -> None:
    model = models[name]
    quantized = {value for node in model.graph.node if "QuantizeLinear" in node.op_type for value in node.output}
    for node in model.graph.node:
        if node.op_type in ("Sub", "Div", "Sigmoid", "Squeeze", "Softmax", "LayerNormalization"):
            assert not quantized & {*node.input}, node.name
        if node.name == "head/MatMul_2":
            assert not quantized & {*node.input}


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
            assert tensors[node.input[0]].data_type == TensorProto.INT8, "a bias was quantized"


@pytest.mark.parametrize("name", FAMILIES)
def test_metadata(models: dict[str, onnx.ModelProto], fp32: Path, name: str) -> None:
    assert graph.read_metadata(models[name]) == graph.read_metadata(onnx.load(fp32)) | {"precision": name}


@pytest.mark.parametrize("name", FAMILIES)
def test_images_give_the_same_bytes_again(
    models: dict[str, onnx.ModelProto], fp32: Path, calibration: NDArray[np.uint8], tmp_path: Path, name: str
) -> None:
    again = FROM_IMAGES[name](fp32, calibration, tmp_path / "again.onnx")
    assert again.read_bytes() == models[name].SerializeToString(deterministic=True)


def test_a_layer_kept_in_float_reads_what_was_not_rounded(fp32: Path, min_max: Ranges, tmp_path: Path) -> None:
    kept = next(name for name in layers(fp32) if "/Add" in name)
    model = onnx.load(quantize(fp32, min_max, tmp_path / "int8.onnx", INT8, [kept]))
    made = {value: node.op_type for node in model.graph.node for value in node.output}
    for node in model.graph.node:
        if node.name in layers(fp32):
            rounded = [made.get(name) == "DequantizeLinear" for name in node.input[:2]]
            assert rounded == [node.name != kept] * 2, node.name


def test_who_writes_for_a_float_layer_is_float_where_outputs_are_rounded(
    fp32: Path, min_max: Ranges, tmp_path: Path
) -> None:
    """Its weights stay float too; with only the reader in float, the rounding of the writer's output would remain."""
    kept = ["backbone.conv1.4/Conv_0"]
    model = onnx.load(quantize(fp32, min_max, tmp_path / "x86.onnx", INT8_X86, kept))
    made = {value: node.op_type for node in model.graph.node for value in node.output}
    read = {node.name: [made.get(name) for name in node.input[:2]] for node in model.graph.node}
    assert read["backbone.conv1.4/Conv_0"] == ["Relu", None]
    assert read["backbone.conv1.1/Conv_0"][1] is None
    assert read["backbone.bn1/Conv_0"] == ["DequantizeLinear"] * 2


@pytest.mark.parametrize("branch", [0, 1])
def test_a_sum_with_one_branch_in_float_is_found(models: dict[str, onnx.ModelProto], fp32: Path, branch: int) -> None:
    model = onnx.ModelProto.FromString(models["int8"].SerializeToString())
    integer = layers(fp32)
    check_signed(model, integer)
    made = {value: node for node in model.graph.node for value in node.output}
    residual = next(node for node in model.graph.node if node.op_type == "Add" and node.name in integer)
    rounding = made[made[residual.input[branch]].input[0]]
    residual.input[branch] = rounding.input[0]
    with pytest.raises(AssertionError, match=rf"{residual.name}: expected both operands in int8, got float"):
        check_signed(model, integer)


def test_a_layer_that_there_is_not(fp32: Path, min_max: Ranges, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"keep_float: expected layers of fp32.onnx, got \['no/Conv_0'\]"):
        quantize(fp32, min_max, tmp_path / "no.onnx", INT8, ["no/Conv_0"])


def test_ranges_become_scales(fp32: Path, min_max: Ranges, tmp_path: Path) -> None:
    model = onnx.load(quantize(fp32, dict.fromkeys(min_max, (-2.54, 1.0)), tmp_path / "int8.onnx", INT8))
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    scales = [float(stored[node.input[1]]) for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert len(scales) > 10
    np.testing.assert_allclose(scales, 2.54 / 127.5, rtol=5e-3)  # whether 127 or 127.5 steps, the quantizer decides


def test_weights_for_x86_have_seven_bits(models: dict[str, onnx.ModelProto]) -> None:
    """Two products with 8-bit activations fit into 16 bits; a weight read in full takes all of int8."""
    largest = {}
    for name, model in models.items():
        stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        read = [stored.get(node.input[0]) for node in model.graph.node if node.op_type == "DequantizeLinear"]
        weights = [values.astype(int) for values in read if values is not None and values.dtype == np.int8]
        largest[name] = max(np.abs(values).max() for values in weights)
    assert largest == {"int8": 127, "int8_x86": 64}
    assert 2 * 255 * largest["int8_x86"] < 2**15
