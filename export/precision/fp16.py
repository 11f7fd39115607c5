"""Half precision: weights and products in fp16, images and scores unchanged."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx.helper import get_node_attr_value

from export.onnx import graph
from export.precision import always_float


def fp16(model: Path, out: Path) -> Path:
    """Write the graph in fp16; the normalization of the input and the score layer stay in fp32."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    source = onnx.load(model)
    metadata = graph.read_metadata(source) | {"precision": "fp16"}
    kept = [*always_float.before_products(source), *always_float.from_last_product(source)]
    own = {node.name for node in source.graph.node}
    halved = convert_float_to_float16(source, keep_io_types=True, node_block_list=kept)
    _join_casts(halved, own)
    graph.sort_nodes(halved)
    return graph.write(halved, out, metadata)


def _join_casts(model: onnx.ModelProto, own: set[str]) -> None:
    """Remove casts to fp16 and back between float nodes; casts among the model's `own` nodes stay.

    The converter (ONNX Runtime 1.31) inserts such casts for every reader of a float node.
    """
    once = {tuple(node.output): node for node in reversed(model.graph.node)}
    nodes = list(reversed(once.values()))
    casts = {node.output[0]: node for node in nodes if node.op_type == "Cast" and node.name not in own}
    half = onnx.TensorProto.FLOAT16
    halved = {name: node.input[0] for name, node in casts.items() if get_node_attr_value(node, "to") == half}
    passed = {name: halved[node.input[0]] for name, node in casts.items() if node.input[0] in halved}
    outputs = {passed[value.name]: value.name for value in model.graph.output if value.name in passed}
    nodes = [node for node in nodes if node.output[0] not in passed]
    for node in nodes:
        node.input[:] = [outputs.get(passed.get(name, name), passed.get(name, name)) for name in node.input]
        node.output[:] = [outputs.get(name, name) for name in node.output]
    read = {name for node in nodes for name in node.input} | {value.name for value in model.graph.output}
    kept = [node for node in nodes if read & set(node.output)]
    del model.graph.node[:]
    model.graph.node.extend(kept)
