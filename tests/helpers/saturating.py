"""A Q/DQ graph whose products do not fit into 16 bits: kernels of x86 without VNNI compute it wrong."""

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

PX, LABELS = 8, 16
HIGHEST = 127 * 27 * 255  # what a 3x3 convolution of three channels adds up to at most


def write_saturating_graph(file: Path, *, unsigned: bool = True, weight_bits: int = 8) -> Path:
    """uint8 (batch, 8, 8, 3) to float scores (batch, 16); label l ranks images by how far their level is above l."""
    zero = np.array(0, np.uint8 if unsigned else np.int8)
    random = np.random.default_rng(0)
    weights = random.integers(90, 128, (LABELS, 3, 3, 3)) >> (8 - weight_bits)
    step = 2.0 ** (8 - weight_bits)
    values = {
        "a_scale": np.float32(1 if unsigned else 2), "a_zero": zero, "w": weights.astype(np.int8),
        "w_scale": np.full(LABELS, step, np.float32), "w_zero": np.zeros(LABELS, np.int8),
        "y_scale": np.float32(HIGHEST / (255 if unsigned else 127)),
        "shift": np.float32(-HIGHEST / 2), "spread": np.float32(4 / HIGHEST),
    }  # fmt: skip
    nodes = [
        helper.make_node("Cast", ["images"], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["cast"], ["x"], perm=[0, 3, 1, 2]),
        helper.make_node("QuantizeLinear", ["x", "a_scale", "a_zero"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "a_scale", "a_zero"], ["xd"]),
        helper.make_node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["wd"], axis=0),
        helper.make_node("Conv", ["xd", "wd"], ["y"], name="conv"),
        helper.make_node("QuantizeLinear", ["y", "y_scale", "a_zero"], ["yq"]),
        helper.make_node("DequantizeLinear", ["yq", "y_scale", "a_zero"], ["yd"]),
        helper.make_node("GlobalAveragePool", ["yd"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Add", ["flat", "shift"], ["shifted"]),
        helper.make_node("Mul", ["shifted", "spread"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["scores"]),
    ]
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", PX, PX, 3])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", LABELS])
    constants = [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()]
    graph = helper.make_graph(nodes, "saturating", [images], [scores], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    model.metadata_props.add(key="precision", value="int8_x86" if unsigned else "int8")
    onnx.save(model, file)
    return file


def bright_images(count: int) -> NDArray[np.uint8]:
    """(count, 8, 8, 3), from mid-grey to white: their products are near the extremes."""
    random = np.random.default_rng(1)
    levels = np.linspace(128, 255, count)[:, None, None, None]
    return np.clip(levels + random.uniform(-20, 20, (count, PX, PX, 3)), 0, 255).astype(np.uint8)
