"""Nodes that stay in float in every precision: the normalization of the input and the score layer."""

from __future__ import annotations

from onnx import GraphProto, ModelProto, NodeProto

PRODUCTS = frozenset({"Conv", "MatMul", "Gemm", "Einsum"})
# Operators that may follow the last product, up to the scores.
AFTER_PRODUCTS = frozenset({"Sigmoid", "Add", "Sub", "Mul", "Div", "Squeeze", "Unsqueeze", "Reshape",
                    "Flatten", "Transpose", "Identity", "Cast"})  # fmt: skip


def before_products(model: ModelProto) -> list[str]:
    """Names of the nodes between the input and the first products, exclusive."""
    consumers: dict[str, list[NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            consumers.setdefault(name, []).append(node)
    names: dict[str, None] = {}
    waiting = [value.name for value in model.graph.input]
    while waiting:
        for node in consumers.get(waiting.pop(), []):
            if node.op_type not in PRODUCTS and node.name not in names:
                names[node.name] = None
                waiting += node.output if node.op_type != "Shape" else []
    return list(names)


def from_last_product(model: ModelProto) -> list[str]:
    """Names of the nodes from the last product, inclusive, to the output.

    A Mul whose result the product sums (in the label-wise layer of the label decoder) counts as part of the product.
    """
    producers = _producers(model.graph)
    names: dict[str, None] = {}
    waiting = [value.name for value in model.graph.output]
    while waiting:
        node = producers.get(waiting.pop())
        if node is None or node.op_type not in AFTER_PRODUCTS | PRODUCTS:
            continue
        names[node.name] = None
        if node.op_type not in PRODUCTS:
            waiting += node.input
        elif (factor := producers.get(node.input[0])) is not None and factor.op_type == "Mul":
            names[factor.name] = None
    return list(names)


def without_benefit(model: ModelProto) -> list[str]:
    """Names of products of two activations (attention) and of all sums except the backbone's residual ones.

    Products of activations are small and lose accuracy, a sum with a constant is a bias, and a sum in front of a
    normalization needs the precision that this one divides by.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    normalized = {node.input[0] for node in model.graph.node if node.op_type == "LayerNormalization"}
    names = []
    for node in model.graph.node:
        weighted = bool(constants & set(node.input))
        # A constant as the first factor is no weight: the label decoder's queries, multiplied by image features.
        if node.op_type in ("MatMul", "Gemm", "Einsum") and node.input[1] not in constants:
            names.append(node.name)
        if node.op_type == "Add" and (weighted or node.output[0] in normalized):
            names.append(node.name)
    return names


def _producers(graph: GraphProto) -> dict[str, NodeProto]:
    return {name: node for node in graph.node for name in node.output}
