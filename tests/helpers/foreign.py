"""ONNX taggers of other projects, as small graphs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from mlkd.core.labels import Labels
from mlkd.models.outputs import Outputs
from mlkd.teachers import OnnxTeacher

LABELS = Labels(("red", "green", "blue"))
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
WEIGHT = np.array([[2, -1, 0.5], [0.3, 1, -1], [-1, 0.2, 1]], np.float32)
BIAS = np.array([0.1, -0.2, 0.3], np.float32)


def images(count: int = 5) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8))


def write(
    file: Path,
    *,
    layout: str = "NCHW",
    output: str = "scores",
    batch: str | int = "batch",
    px: str | int = 32,
    kind: int = TensorProto.FLOAT,
    bias: NDArray[Any] = BIAS,
    weight: NDArray[Any] = WEIGHT,
    names: tuple[str, ...] = LABELS.names,
    more_inputs: int = 0,
) -> Path:
    """A foreign graph: the mean of each channel, a matrix and perhaps a sigmoid, with a second output."""
    image = [3, px, px] if layout == "NCHW" else [px, px, 3]
    of_floats = TensorProto.FLOAT if kind == TensorProto.UINT8 else kind
    dtype = helper.tensor_dtype_to_np_dtype(of_floats)
    inputs = [helper.make_tensor_value_info("x", kind, [batch, *image])]
    inputs += [helper.make_tensor_value_info(f"more{at}", kind, [1]) for at in range(more_inputs)]
    axes = [2, 3] if layout == "NCHW" else [1, 2]
    weight = weight / 255 if kind == TensorProto.UINT8 else weight
    weights = {"axes": np.array(axes, np.int64), "weight": weight.astype(dtype), "bias": bias.astype(dtype)}
    last = "sums" if output == "logits" else "probabilities"
    nodes = [
        helper.make_node("Cast", ["x"], ["values"], to=of_floats),
        helper.make_node("ReduceMean", ["values", "axes"], ["means"], keepdims=0),
        helper.make_node("Gemm", ["means", "weight", "bias"], ["sums"]),
        helper.make_node("Sigmoid", ["sums"], ["probabilities"]),
        helper.make_node("ReduceMean", ["values"], ["brightness"], keepdims=0),
    ]
    outputs = [
        helper.make_tensor_value_info(last, of_floats, [batch, len(bias)]),
        helper.make_tensor_value_info("brightness", of_floats, []),
    ]
    initial = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "foreign", inputs, outputs, initial)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    if names:
        helper.set_model_props(model, {"labels": json.dumps(names)})
    onnx.checker.check_model(model)
    onnx.save(model, file)
    return file


def by_hand(images: torch.Tensor) -> NDArray[np.float64]:
    """The logits of the graph in float64."""
    values = (images.numpy().astype(np.float64) / 255 - MEAN) / STD
    return values.mean((1, 2)) @ WEIGHT.astype(np.float64) + BIAS


def outputs(source: OnnxTeacher, images: torch.Tensor) -> Outputs:
    return source.load(LABELS)({32: images, 16: images[:, ::2, ::2]})
