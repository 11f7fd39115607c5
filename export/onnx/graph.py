"""Rewrites exported ONNX graphs: folds constants, removes traces of the machine, makes the bytes reproducible."""

from __future__ import annotations

import ast
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator

BROADCASTING = frozenset({"Add", "Sub", "Mul", "Div", "MatMul"})
SCOPES = "pkg.torch.onnx.name_scopes"  # the exporter's metadata with the modules of a node


def write(model: ModelProto, out: Path, metadata: Mapping[str, str]) -> Path:
    """Check the model and write it with this metadata only; equal models give equal bytes."""
    del model.metadata_props[:]
    for key, value in sorted(metadata.items()):
        model.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(model, full_check=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(model.SerializeToString(deterministic=True))
    return out


def read_metadata(model: ModelProto) -> dict[str, str]:
    """The metadata that `write` wrote."""
    return {entry.key: entry.value for entry in model.metadata_props}


def opset(model: ModelProto) -> int:
    """Version of the standard operators in the model."""
    return int(next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")))


def fold_constants(model: ModelProto) -> None:
    """Replace every node that depends on no input by its value.

    The exporter's optimizer does not fold operators with optional outputs (LayerNormalization), nor what follows them.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    outputs = {value.name for value in model.graph.output}
    folded: list[NodeProto] = []
    for node in model.graph.node:
        if node.input and all(name in constants or not name for name in node.input) and not outputs & set(node.output):
            folded.append(node)
            constants |= set(node.output)
    if not folded:
        return
    others = [node for node in model.graph.node if node not in folded]
    read = {name for node in others for name in node.input}
    values = _evaluate(model, folded, sorted({name for node in folded for name in node.output if name in read}))
    _replace_nodes(model, others)
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in values.items())
    _drop_unread(model)


def broadcast_constants(model: ModelProto) -> None:
    """Remove expansions of constants to the batch where all readers broadcast them.

    If the first convolution is int8, OpenVINO's CPU plugin (2026.4) overwrites such an expansion before it is read:
    with the label decoder's queries mAP fell by up to a tenth, with EdgeNeXt's position codes by a sixth.
    """
    constants = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in model.graph.value_info
    }
    removed = {
        node.output[0]: node.input[0]
        for node in model.graph.node
        if node.op_type == "Expand"
        and constants.get(node.input[0]) == [1, *shapes.get(node.output[0], [])[1:]]
        and _is_broadcast(model, node.output[0], math.prod(constants[node.input[0]]))
    }
    for node in model.graph.node:
        node.input[:] = [removed.get(name, name) for name in node.input]
    drop_dead(model)
    fold_constants(model)


def read_input_once(model: ModelProto) -> None:
    """Put the cast of the input first and let all nodes read its result: TensorRT accepts only a cast of uint8."""
    source = model.graph.input[0].name
    cast = next(node for node in model.graph.node if node.op_type == "Cast" and node.input[0] == source)
    others = [node for node in model.graph.node if node is not cast]
    for node in others:
        node.input[:] = [cast.output[0] if name == source else name for name in node.input]
    _replace_nodes(model, [cast, *others])


def sums_as_products(model: ModelProto) -> None:
    """Replace sums over the last axis by products with ones.

    OpenVINO's CPU plugin (2026.4) fuses a following bias into such a sum along the wrong axis: the result is right for
    a batch of one, wrong for others, and reads past the end of the bias if the batch is larger.
    """
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in model.graph.value_info}
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        rank = ranks.get(node.input[0], 0) if node.op_type == "ReduceSum" else 0
        last = rank and numpy_helper.to_array(tensors[node.input[1]]).tolist() in ([-1], [rank - 1])
        nodes += _as_product(model, node) if last else [node]
    _replace_nodes(model, nodes)
    _drop_unread(model)


def sort_nodes(model: ModelProto) -> None:
    """Put every node after those it reads from, otherwise in the existing order."""
    waiting = list(model.graph.node)
    made_later = {name for node in waiting for name in node.output}
    ordered: list[NodeProto] = []
    while waiting:
        node = next(node for node in waiting if not made_later & set(node.input))
        waiting.remove(node)
        ordered.append(node)
        made_later -= set(node.output)
    _replace_nodes(model, ordered)


def anonymize(model: ModelProto) -> None:
    """Name nodes after their modules; remove stack traces, comments and inferred shapes."""
    counts: Counter[str] = Counter()
    for node in model.graph.node:
        prefix = f"{_module(node)}/{node.op_type}"
        node.name = f"{prefix}_{counts[prefix]}"
        counts[prefix] += 1
        node.doc_string = ""
        del node.metadata_props[:]
    graph = model.graph
    for entry in (graph, model, *graph.initializer, *graph.input, *graph.output):
        entry.doc_string = ""
        del entry.metadata_props[:]
    del graph.value_info[:]


def _is_broadcast(model: ModelProto, name: str, size: int) -> bool:
    """Whether a tensor that is equal for all images, `size` values each, may have a batch of one."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in (node for node in model.graph.node if name in node.input):
        broadcasts = node.op_type in BROADCASTING
        has_batch = broadcasts and not any(other in constants for other in node.input if other != name)
        passes_on = broadcasts or _keeps_batch(node, constants, size)
        if not has_batch and not (passes_on and _is_broadcast(model, node.output[0], size)):
            return False
    return True


def _keeps_batch(node: NodeProto, constants: Mapping[str, TensorProto], size: int) -> bool:
    """Whether a Reshape or Transpose leaves the first axis unchanged."""
    if node.op_type == "Reshape" and node.input[1] in constants:
        target = numpy_helper.to_array(constants[node.input[1]])
        return bool(target[0] == -1 and math.prod(target[1:]) == size)
    return node.op_type == "Transpose" and int(node.attribute[0].ints[0]) == 0


def _as_product(model: ModelProto, node: NodeProto) -> list[NodeProto]:
    length = next(value for value in model.graph.value_info if value.name == node.input[0])
    size = length.type.tensor_type.shape.dim[-1].dim_value
    result, keep_axis = node.output[0], next((entry.i for entry in node.attribute if entry.name == "keepdims"), 1)
    ones, axis, column = f"{result}_ones", f"{result}_axis", f"{result}_column"
    model.graph.initializer.append(numpy_helper.from_array(np.ones((size, 1), np.float32), ones))
    product = onnx.helper.make_node("MatMul", [node.input[0], ones], [result if keep_axis else column])
    product.metadata_props.extend(node.metadata_props)
    if keep_axis:
        return [product]
    model.graph.initializer.append(numpy_helper.from_array(np.array([-1], np.int64), axis))
    squeeze = onnx.helper.make_node("Squeeze", [column, axis], [result])
    squeeze.metadata_props.extend(node.metadata_props)
    return [product, squeeze]


def _module(node: NodeProto) -> str:
    text = next((entry.value for entry in node.metadata_props if entry.key == SCOPES), "[]")
    scopes: list[str] = [scope for scope in ast.literal_eval(text)[:-1] if scope]
    named = [scope for scope in scopes if not scope.startswith("_")]  # an underscore marks what the exporter added
    return str(named[-1]).removeprefix("tagger.") if named else "tagger"


def _evaluate(model: ModelProto, nodes: list[NodeProto], names: list[str]) -> dict[str, NDArray[Any]]:
    made = {name for node in nodes for name in node.output}
    read = {name for node in nodes for name in node.input} - made
    tensors = [tensor for tensor in model.graph.initializer if tensor.name in read]
    outputs = [onnx.helper.make_empty_tensor_value_info(name) for name in names]
    graph = onnx.helper.make_graph(nodes, "constants", [], outputs, tensors)
    part = onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    return dict(zip(names, ReferenceEvaluator(part).run(None, {}), strict=True))


def drop_dead(model: ModelProto) -> None:
    """Remove nodes whose results are not used."""
    read = {value.name for value in model.graph.output}
    used: list[NodeProto] = []
    for node in reversed(model.graph.node):
        if read & set(node.output):
            used.insert(0, node)
            read |= set(node.input)
    _replace_nodes(model, used)
    _drop_unread(model)


def _drop_unread(model: ModelProto) -> None:
    read = {name for node in model.graph.node for name in node.input}
    tensors = [tensor for tensor in model.graph.initializer if tensor.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(tensors)


def _replace_nodes(model: ModelProto, nodes: list[NodeProto]) -> None:
    """Replace the nodes by copies of `nodes`, which would become invalid when the old ones are deleted."""
    copies = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)
