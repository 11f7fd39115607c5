"""Q/DQ graphs of both families, by ONNX Runtime's quantizer."""

from __future__ import annotations

import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from export.onnx import graph
from export.precision import always_float
from export.precision.budget import FloatLayer
from export.precision.ranges import Ranges, prepare
from mlkd.core.files import sha256_of

LAYERS = ("Conv", "MatMul", "Gemm", "Add")
ACTIVATIONS = ("Clip", "Relu")  # become the range of their input where outputs are quantized


@dataclass(frozen=True, kw_only=True)
class Family:
    """The Q/DQ graph that one family of runtimes needs."""

    precision: str  # name in the graph's metadata
    unsigned: bool  # activations
    types: tuple[str, ...]  # operators to quantize
    options: dict[str, Any]  # of the quantizer
    weight_bits: Literal[7, 8] = 8  # with 7, two products of 8-bit activations fit into 16 bits: no kernel saturates


def quantize(model: Path, ranges: Ranges, out: Path, family: Family, keep_float: Collection[str] = ()) -> Path:
    """Write the Q/DQ graph of a float graph, with signed weights, one scale per channel and some layers in float.

    Raises ValueError for a name in `keep_float` that is not one of `layers`, KeyError for a tensor without a range.
    """
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    prepared = _prepared(model)
    metadata = graph.read_metadata(onnx.load(model)) | {"precision": family.precision}
    names = _layers(prepared)
    unknown = set(keep_float) - set(names)
    if unknown:
        raise ValueError(f"keep_float: expected layers of {model.name}, got {sorted(unknown)}; see qdq.layers")
    pairs = {name: (np.float32(low), np.float32(high)) for name, (low, high) in ranges.items()}
    quantizer = QDQQuantizer(
        prepared,
        True,  # one scale per channel
        family.weight_bits == 7,
        QuantType.QInt8,
        QuantType.QUInt8 if family.unsigned else QuantType.QInt8,
        TensorsData(CalibrationMethod.MinMax, pairs),
        [],
        [*float_nodes(prepared), *keep_float, *(_writers(prepared, keep_float) if family.unsigned else ())],
        list(family.types),
        family.options,
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    quantized = quantizer.model.model
    _bypass_quantization(quantized, keep_float)
    if not family.unsigned:
        check_signed(quantized, set(names) - set(keep_float))
    return graph.write(quantized, out, metadata)


def layers(model: Path) -> list[str]:
    """Names of the layers that int8 graphs compute in integers: products with weights, and residual sums."""
    return _layers(_prepared(model))


def forced_to_float(model: Path, family: Family, floats: Collection[FloatLayer]) -> list[str]:
    """Further layers that compute in float because these do."""
    names = {entry.layer for entry in floats}
    if not family.unsigned or not names:
        return []
    prepared = _prepared(model)
    return sorted(_writers(prepared, names) & set(_layers(prepared)) - names)


def float_nodes(model: ModelProto) -> list[str]:
    """Names of the nodes that no family quantizes."""
    return [
        *always_float.before_products(model),
        *always_float.from_last_product(model),
        *always_float.without_benefit(model),
    ]


def check_signed(model: ModelProto, integer: Collection[str]) -> None:
    """Raise AssertionError unless TensorRT computes the nodes `integer` in int8.

    Every operand must be quantized with zero point 0.  A sum with one float branch would run in float, and its other
    branch would lose accuracy without any benefit.
    """
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    dequantized = {name for node in model.graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            zero = tensors[node.input[2]]
            assert zero.data_type == TensorProto.INT8, f"{node.name}: expected int8, got type {zero.data_type}"
            assert not numpy_helper.to_array(zero).any(), f"{node.name}: expected zero points of 0, got others"
        if node.name in integer:
            float_operands = [name for name in node.input[:2] if name not in dequantized]
            assert not float_operands, f"{node.name}: expected both operands in int8, got float {float_operands}"


def _prepared(model: Path) -> ModelProto:
    """A copy of the graph, prepared for quantizers; cached, because a search quantizes one graph a hundred times."""
    return ModelProto.FromString(_prepared_bytes(model, sha256_of(model)))


@lru_cache(maxsize=2)
def _prepared_bytes(model: Path, _digest: str) -> bytes:
    from onnxruntime.quantization.quant_utils import load_model_with_shape_infer

    with tempfile.TemporaryDirectory() as folder:
        prepared: ModelProto = load_model_with_shape_infer(prepare(model, Path(folder) / "prepared.onnx"))
    return bytes(prepared.SerializeToString())


def _layers(model: ModelProto) -> list[str]:
    excluded = set(float_nodes(model))
    return [node.name for node in model.graph.node if node.op_type in LAYERS and node.name not in excluded]


def _writers(model: ModelProto, names: Collection[str]) -> set[str]:
    """Layers whose outputs these nodes read, possibly through activation functions; they would quantize the outputs."""
    producers = {name: node for node in model.graph.node for name in node.output}
    writers: set[str] = set()
    waiting = [name for node in model.graph.node if node.name in names for name in node.input]
    while waiting:
        node = producers.get(waiting.pop())
        if node is not None and node.op_type in (*ACTIVATIONS, *LAYERS):
            writers.add(node.name)
            waiting += node.input if node.op_type in ACTIVATIONS else ()
    return writers


def _bypass_quantization(model: ModelProto, names: Collection[str]) -> None:
    """Connect these nodes to the tensors in front of Q/DQ, which the quantizer inserts for all readers of a tensor."""
    producers: dict[str, NodeProto] = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        if node.name in names:
            for index, name in enumerate(node.input):
                dequantize = producers.get(name)
                if dequantize is not None and dequantize.op_type == "DequantizeLinear":
                    quantize_node = producers.get(dequantize.input[0])
                    if quantize_node is not None and quantize_node.op_type == "QuantizeLinear":
                        node.input[index] = quantize_node.input[0]
