"""What TensorRT's real parser and builder refuse, and how the error says where in the net."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from export.backends import TensorRt
from export.errors import EngineError

pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX has wheels for x86-64 Linux only")

CUT_SIZES = bytes((0x3A, 5, 0x2A, 3, 0x0A, 1, 0xFF))  # of a tensor in the graph: a number without its end


@pytest.mark.parametrize("kind", ["parsed", "added by the quantizer", "a weight's"])
def test_a_complaint_of_the_parser_names_node_and_module(quantized: Path, tmp_path: Path, kind: str) -> None:
    model = onnx.load(quantized)
    constants = {tensor.name for tensor in model.graph.initializer}
    chosen = {
        "parsed": lambda node: node.op_type == "Softmax",
        "added by the quantizer": lambda node: node.op_type == "QuantizeLinear" and node.name.startswith("relu"),
        "a weight's": lambda node: node.op_type == "DequantizeLinear" and node.input[0] in constants,
    }[kind]
    node = next(node for node in model.graph.node if chosen(node))
    maker = next((one.name for one in model.graph.node if node.input[0] in one.output), "")
    module = {
        "parsed": node.name.rpartition("/")[0],
        "added by the quantizer": maker.rpartition("/")[0],
        "a weight's": node.input[0].removeprefix("tagger.").removesuffix(".weight_quantized"),
    }[kind]
    node.op_type = "NoSuchOperator"
    with pytest.raises(EngineError, match=rf"in {module} node {node.name} \(NoSuchOperator\): .*Plugin not found"):
        TensorRt().compile(save(model, tmp_path), tmp_path)
    assert list(tmp_path.glob("*.plan*")) == []


def test_types_that_do_not_fit(fp32: Path, tmp_path: Path) -> None:
    model = onnx.load(fp32)
    node = next(node for node in model.graph.node if node.op_type == "Conv")
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == node.input[1])
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight).astype(np.float16), weight.name))
    with pytest.raises(EngineError, match=rf"node {node.name} \(Conv\): .*must be of same type") as caught:
        TensorRt().compile(save(model, tmp_path), tmp_path)
    assert "CUDA" not in str(caught.value), "the driver that is not here has nothing to do with it"


def test_an_error_of_the_builder_names_the_module_and_not_errors_of_an_earlier_build(
    fp32: Path, tmp_path: Path
) -> None:
    """Turing has no product of fp32 matrices in TensorRT for RTX 1.7; its parser takes the graph."""
    out = tmp_path / "out"
    (tmp_path / "cut.onnx").write_bytes(fp32.read_bytes() + CUT_SIZES)
    with pytest.raises(EngineError, match="Failed to parse"):
        TensorRt().compile(tmp_path / "cut.onnx", out)
    wanted = r"builds for SM75, .*Cannot compile operation '(head\S*)/.*\(in \1\)"
    with pytest.raises(EngineError, match=wanted) as caught:
        TensorRt(compute_capability="SM75").compile(fp32, out)
    assert "Failed to parse" not in str(caught.value)
    assert not out.exists()


def test_a_graph_for_one_batch_only_is_refused(fp32: Path, tmp_path: Path) -> None:
    model = onnx.load(fp32)
    last = model.graph.node[-1]
    scores, last.output[0] = last.output[0], "before"
    model.graph.initializer.append(numpy_helper.from_array(np.ones((3, 1), np.float32), "three"))
    model.graph.node.append(helper.make_node("Mul", ["before", "three"], [scores], name="head.fixed/Mul_0"))
    with pytest.raises(EngineError, match=r"batches 1 to 32, got: .*3 != 32.*\(in head.fixed\)"):
        TensorRt().compile(save(model, tmp_path), tmp_path)


def test_an_opset_that_the_parser_does_not_know(fp32: Path, tmp_path: Path) -> None:
    model = onnx.load(fp32)
    model.opset_import[0].version = 21
    with pytest.raises(EngineError, match=r"expected opset 20 or older for tensorrt_rtx, got 21; export it again"):
        TensorRt().compile(save(model, tmp_path), tmp_path)


def test_a_corrupt_file(fp32: Path, tmp_path: Path) -> None:
    whole = fp32.read_bytes()
    expected = {
        whole[: len(whole) // 2]: r"cut\.onnx: expected a graph for TensorRT's parser, got: a damaged graph",
        whole + CUT_SIZES: r"cut\.onnx: expected a graph that tensorrt_rtx parses, got .*Failed to parse",
    }
    for content, message in expected.items():
        (tmp_path / "cut.onnx").write_bytes(content)
        with pytest.raises(EngineError, match=message):
            TensorRt().compile(tmp_path / "cut.onnx", tmp_path)


def no_nodes(model: onnx.ModelProto) -> None:
    model.Clear()


def float_images(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT


def one_image(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


def two_outputs(model: onnx.ModelProto) -> None:
    inner = next(node for node in model.graph.node if node.op_type == "Conv").output[0]
    model.graph.output.append(helper.make_tensor_value_info(inner, onnx.TensorProto.FLOAT, None))


@pytest.mark.parametrize("change", [no_nodes, float_images, one_image, two_outputs], ids=lambda one: one.__name__)
def test_a_graph_that_is_no_tagger(fp32: Path, tmp_path: Path, change: Callable[[onnx.ModelProto], None]) -> None:
    model = onnx.load(fp32)
    change(model)
    with pytest.raises(EngineError, match=r"expected uint8 \(batch, H, W, 3\) to float scores \(batch, L\), got "):
        TensorRt().compile(save(model, tmp_path), tmp_path)


def save(model: onnx.ModelProto, folder: Path) -> Path:
    onnx.save(model, folder / "changed.onnx")
    return folder / "changed.onnx"
