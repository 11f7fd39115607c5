"""What both families of Q/DQ graphs share: ONNX Runtime's quantiser, what it leaves in float, what must hold."""

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
ACTIVATIONS = ("Clip", "Relu")  # the quantiser takes them for a range of what they read, where outputs are rounded


@dataclass(frozen=True, kw_only=True)
class Family:
    """How one family of runtimes wants its Q/DQ graph."""

    precision: str  # as the graph's metadata says it
    unsigned: bool  # activations
    types: tuple[str, ...]  # operators that are quantised
    options: dict[str, Any]  # of the quantiser
    weight_bits: Literal[7, 8] = 8  # 7: two products of 8-bit activations fit into 16 bits, and no kernel saturates


def quantise(model: Path, ranges: Ranges, out: Path, family: Family, keep_float: Collection[str] = ()) -> Path:
    """Write the Q/DQ graph of a float one; weights are signed, a scale a channel; the nodes `keep_float` stay float.

    Raises ValueError for a node that is not one of `layers`, KeyError for a tensor without a range.
    """
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    prepared = _prepared(model)
    metadata = graph.read_metadata(onnx.load(model)) | {"precision": family.precision}
    able = _layers(prepared)
    unknown = set(keep_float) - set(able)
    if unknown:
        raise ValueError(f"keep_float: expected layers of {model.name}, got {sorted(unknown)}; see qdq.layers")
    pairs = {name: (np.float32(low), np.float32(high)) for name, (low, high) in ranges.items()}
    quantiser = QDQQuantizer(
        prepared,
        True,  # a scale a channel
        family.weight_bits == 7,
        QuantType.QInt8,
        QuantType.QUInt8 if family.unsigned else QuantType.QInt8,
        TensorsData(CalibrationMethod.MinMax, pairs),
        [],
        [*float_nodes(prepared), *keep_float, *(_writers(prepared, keep_float) if family.unsigned else ())],
        list(family.types),
        family.options,
    )
    quantiser.quantize_model()
    quantiser.model.topological_sort()
    quantised = quantiser.model.model
    _read_unrounded(quantised, keep_float)
    if not family.unsigned:
        check_signed(quantised, set(able) - set(keep_float))
    return graph.write(quantised, out, metadata)


def layers(model: Path) -> list[str]:
    """Nodes that int8 graphs compute in integers: products with weights and the backbone's residual sums."""
    return _layers(_prepared(model))


def taken_along(model: Path, family: Family, floats: Collection[FloatLayer]) -> list[str]:
    """Further layers that compute in float because these do."""
    names = {entry.layer for entry in floats}
    if not family.unsigned or not names:
        return []
    prepared = _prepared(model)
    return sorted(_writers(prepared, names) & set(_layers(prepared)) - names)


def float_nodes(model: ModelProto) -> list[str]:
    """Nodes that no family quantises."""
    return [*always_float.in_front(model), *always_float.behind(model), *always_float.not_worth_it(model)]


def check_signed(model: ModelProto, integer: Collection[str]) -> None:
    """AssertionError unless TensorRT computes the nodes `integer` in int8: every operand rounded, no zero points.

    A sum of which one branch is float would run in float, and the other branch would be rounded for nothing.
    """
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    rounded = {name for node in model.graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            zero = tensors[node.input[2]]
            assert zero.data_type == TensorProto.INT8, f"{node.name}: expected int8, got type {zero.data_type}"
            assert not numpy_helper.to_array(zero).any(), f"{node.name}: expected zero points of 0, got others"
        if node.name in integer:
            float_operands = [name for name in node.input[:2] if name not in rounded]
            assert not float_operands, f"{node.name}: expected both operands in int8, got float {float_operands}"


def _prepared(model: Path) -> ModelProto:
    """A copy of the graph as quantisers want it; a search for layers quantises one graph a hundred times."""
    return ModelProto.FromString(_prepared_bytes(model, sha256_of(model)))


@lru_cache(maxsize=2)
def _prepared_bytes(model: Path, _digest: str) -> bytes:
    from onnxruntime.quantization.quant_utils import load_model_with_shape_infer

    with tempfile.TemporaryDirectory() as folder:
        prepared: ModelProto = load_model_with_shape_infer(prepare(model, Path(folder) / "prepared.onnx"))
    return bytes(prepared.SerializeToString())


def _layers(model: ModelProto) -> list[str]:
    kept = set(float_nodes(model))
    return [node.name for node in model.graph.node if node.op_type in LAYERS and node.name not in kept]


def _writers(model: ModelProto, names: Collection[str]) -> set[str]:
    """Who writes what these nodes read, activation functions passed: where outputs are rounded too, they round it."""
    made = {name: node for node in model.graph.node for name in node.output}
    found: set[str] = set()
    waiting = [name for node in model.graph.node if node.name in names for name in node.input]
    while waiting:
        node = made.get(waiting.pop())
        if node is not None and node.op_type in (*ACTIVATIONS, *LAYERS):
            found.add(node.name)
            waiting += node.input if node.op_type in ACTIVATIONS else ()
    return found


def _read_unrounded(model: ModelProto, names: Collection[str]) -> None:
    """Let these nodes read what was before rounding: the quantiser rounds a tensor for all who read it."""
    made: dict[str, NodeProto] = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        if node.name in names:
            for at, name in enumerate(node.input):
                rounding = made.get(made[name].input[0]) if _is(made.get(name), "DequantizeLinear") else None
                if rounding is not None and _is(rounding, "QuantizeLinear"):
                    node.input[at] = rounding.input[0]


def _is(node: NodeProto | None, kind: str) -> bool:
    return node is not None and node.op_type == kind
