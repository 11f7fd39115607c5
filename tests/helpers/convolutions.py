"""A small convolutional tagger with an activation to choose, for tests that quantize and run it."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

PX, WIDTHS = 32, (3, 16, 32, 32)


def write_convolutions(path: Path, activation: str, **attributes: Any) -> Path:
    """uint8 (batch, PX, PX, 3) -> three convolutions of 3x3, each with the activation -> three scores."""
    random = np.random.default_rng(0)
    weights = {"mean": np.float32([128]), "gain": random.normal(0, 1, (WIDTHS[-1], 3)), "bias": np.zeros(3)}
    nodes = [
        _node("Cast", ["images"], "float", "tagger/Cast_0", to=TensorProto.FLOAT),
        _node("Div", ["float", "mean"], "scaled", "tagger/Div_0"),
        _node("Transpose", ["scaled"], "map0", "tagger/Transpose_0", perm=[0, 3, 1, 2]),
    ]
    for at, (ins, outs) in enumerate(itertools.pairwise(WIDTHS)):
        weights[f"weight{at}"] = random.normal(0, (ins * 9) ** -0.5, (outs, ins, 3, 3))
        weights[f"bias{at}"] = random.normal(0, 0.1, outs)
        parts, where = [f"map{at}", f"weight{at}", f"bias{at}"], f"backbone.blocks.{at}"
        nodes.append(_node("Conv", parts, f"sum{at}", f"{where}/Conv_0", pads=[1, 1, 1, 1]))
        nodes.append(_node(activation, [f"sum{at}"], f"map{at + 1}", f"{where}.act/{activation}_0", **attributes))
    nodes += [
        _node("GlobalAveragePool", [f"map{len(WIDTHS) - 1}"], "pooled", "head/GlobalAveragePool_0"),
        _node("Flatten", ["pooled"], "flat", "head/Flatten_0"),
        _node("MatMul", ["flat", "gain"], "product", "head/MatMul_0"),
        _node("Add", ["product", "bias"], "logits", "head/Add_0"),
        _node("Sigmoid", ["logits"], "scores", "tagger/Sigmoid_0"),
    ]
    graph = helper.make_graph(
        nodes,
        "convolutions",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", PX, PX, 3])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(np.asarray(array, np.float32), name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def _node(operator: str, inputs: list[str], output: str, name: str, **attributes: Any) -> NodeProto:
    return helper.make_node(operator, inputs, [output], name=name, **attributes)
