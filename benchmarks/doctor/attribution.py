"""Attribute the layers of an engine to the parts of the exported network: preprocessing, stem, stages, head."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from benchmarks.doctor.layers import Layer
from benchmarks.sections import CONVERSIONS, HEAD, Operation, PartTime

if TYPE_CHECKING:
    from onnx import NodeProto

PREPROCESSING, STEM, LAST, OTHER = "preprocessing", "stem", "last layers", "other"
STAGE = re.compile(r"backbone\.((?:stage|block|layer|level|feature)s?)([._]?\d+)")
MOST_STAGES = 8  # a transformer has a dozen equal blocks, which become one part
NODE = re.compile(r"[^/]+/[A-Za-z]+_\d+")  # the exporter's name, with which the runtimes' names begin


@dataclass(frozen=True)
class Operator:
    """An operator of the exported float graph; multiply-adds are those of one image."""

    part: str
    operation: Operation
    multiply_adds: int


def read_operators(graph: Path) -> dict[str, Operator]:
    """Return the operators of the exported float graph by name, in the order in which they run."""
    import onnx

    model = onnx.load(graph)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {
        value.name: [side.dim_value for side in value.type.tensor_type.shape.dim]
        for value in (*inferred.value_info, *inferred.output)
    }
    shapes |= {tensor.name: list(tensor.dims) for tensor in inferred.initializer}
    parts = name_parts([node.name for node in inferred.node])
    return {node.name: _operator(node, part, shapes) for node, part in zip(inferred.node, parts, strict=True)}


def name_parts(names: Sequence[str]) -> list[str]:
    """Return the part of each operator, by the name of its module and its place among the others."""
    stages = {stage[0] for stage in map(STAGE.match, names) if stage}
    part, parts = PREPROCESSING, []
    for name in names:
        if stage := STAGE.match(name):
            part = stage[1] if len(stages) > MOST_STAGES else stage[1] + stage[2]
        elif name.startswith("backbone"):
            first = STEM if stages else "backbone"
            part = first if part in (PREPROCESSING, first) else LAST
        elif name.startswith("head") or part != PREPROCESSING:
            part = HEAD  # with what stands between backbone and head, and the sigmoid
        parts.append(part)
    return parts


def attribute(layers: Iterable[Layer], operators: Mapping[str, Operator]) -> list[PartTime]:
    """Return the share of every part and kind of operation; a layer that the graph does not name is "other".

    Raises:
        ValueError: No layer took time.
    """
    times: dict[tuple[str, Operation], float] = defaultdict(float)
    for layer in layers:
        times[_place(layer, operators)] += layer.milliseconds
    total = sum(times.values())
    if not total:
        raise ValueError("profile: expected times of layers, got none")
    counted: dict[tuple[str, Operation], int] = defaultdict(int)
    for one in operators.values():
        counted[one.part, one.operation] += one.multiply_adds
    parts = dict.fromkeys([*(one.part for one in operators.values()), CONVERSIONS, OTHER])
    places: list[tuple[str, Operation]] = [(part, operation) for part in parts for operation in get_args(Operation)]
    return [
        PartTime(part=at[0], operation=at[1], share=times.get(at, 0.0) / total, multiply_adds=counted.get(at, 0))
        for at in places
        if times.get(at) or counted.get(at)
    ]


def _place(layer: Layer, operators: Mapping[str, Operator]) -> tuple[str, Operation]:
    named = NODE.match(layer.name)
    operator = operators.get(named[0]) if named else None
    if layer.role in ("pair", "reorder") or (operator is None and layer.operator == "Cast"):
        return CONVERSIONS, "conversion"
    part = operator.part if operator else OTHER
    if layer.role != "product":
        return part, "rest"
    if operator and operator.operation.endswith("convolution"):
        return part, operator.operation
    return part, "other convolution" if "Conv" in layer.operator else "matrix product"


def _operator(node: NodeProto, part: str, shapes: Mapping[str, list[int]]) -> Operator:
    if node.op_type == "Conv":
        filters = shapes[node.input[1]]
        groups = next((entry.i for entry in node.attribute if entry.name == "group"), 1)
        plain: Operation = "1x1 convolution" if set(filters[2:]) == {1} else "other convolution"
        operation: Operation = "depthwise convolution" if groups > 1 == filters[1] else plain
        return Operator(part, operation, prod(shapes[node.output[0]]) * prod(filters[1:]))
    if node.op_type in ("MatMul", "Gemm"):
        return Operator(part, "matrix product", prod(shapes[node.output[0]]) * shapes[node.input[0]][-1])
    return Operator(part, "rest", 0)
