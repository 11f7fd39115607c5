"""Which nodes stay in float, on the exported graph and on a plain classifier."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.precision import always_float


def kinds(model: onnx.ModelProto, names: list[str]) -> list[str]:
    return sorted(node.op_type for node in model.graph.node if node.name in names)


def test_label_decoder(fp32: Path) -> None:
    model = onnx.load(fp32)
    assert set(kinds(model, always_float.before_products(model))) - {"Shape"} == {"Cast", "Div", "Sub", "Transpose"}
    assert kinds(model, always_float.from_last_product(model)) == ["Add", "MatMul", "Mul", "Sigmoid", "Squeeze"]


def test_plain_classifier() -> None:
    """Pooled features, one Gemm, sigmoid: only the last two are behind."""
    nodes = [
        helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT, name="cast"),
        helper.make_node("Conv", ["float", "kernel"], ["maps"], name="conv"),
        helper.make_node("Gemm", ["maps", "weight"], ["hidden"], name="hidden"),
        helper.make_node("Gemm", ["hidden", "weight"], ["logits"], name="last"),
        helper.make_node("Sigmoid", ["logits"], ["scores"], name="sigmoid"),
    ]
    value = helper.make_tensor_value_info
    images, scores = value("images", TensorProto.UINT8, None), value("scores", TensorProto.FLOAT, None)
    tensors = [numpy_helper.from_array(np.ones((2, 2), np.float32), name) for name in ("kernel", "weight")]
    model = helper.make_model(helper.make_graph(nodes, "g", [images], [scores], tensors))
    assert always_float.before_products(model) == ["cast"]
    assert sorted(always_float.from_last_product(model)) == ["last", "sigmoid"]
    assert always_float.without_benefit(model) == []


def test_attention_and_biases_are_left_and_residuals_are_not(fp32: Path) -> None:
    model = onnx.load(fp32)
    constants = {tensor.name for tensor in model.graph.initializer}
    names = always_float.without_benefit(model)
    products = [node for node in model.graph.node if node.op_type == "MatMul" and node.name in names]
    assert len(products) == 2, "queries by keys, attention by values"
    residual = [
        node.name
        for node in model.graph.node
        if node.op_type == "Add" and not constants & set(node.input) and node.name.startswith("backbone")
    ]
    assert residual
    assert not set(residual) & set(names)
