"""Which nodes stay in float whatever the precision: the normalisation in front and the scores behind."""

from __future__ import annotations

from onnx import GraphProto, ModelProto, NodeProto

PRODUCTS = frozenset({"Conv", "MatMul", "Gemm", "Einsum"})
# What may stand between the last product and the scores.
BEHIND = frozenset({"Sigmoid", "Add", "Sub", "Mul", "Div", "Squeeze", "Unsqueeze", "Reshape",
                    "Flatten", "Transpose", "Identity", "Cast"})  # fmt: skip


def in_front(model: ModelProto) -> list[str]:
    """Names of the nodes from the input up to the first products, these not included."""
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


def behind(model: ModelProto) -> list[str]:
    """Names of the nodes from the last product, itself included, to the output.

    With a product that sums what a Mul gives (the label-wise one of the label decoder), the Mul is part of it.
    """
    producers = _producers(model.graph)
    names: dict[str, None] = {}
    waiting = [value.name for value in model.graph.output]
    while waiting:
        node = producers.get(waiting.pop())
        if node is None or node.op_type not in BEHIND | PRODUCTS:
            continue
        names[node.name] = None
        if node.op_type not in PRODUCTS:
            waiting += node.input
        elif (factor := producers.get(node.input[0])) is not None and factor.op_type == "Mul":
            names[factor.name] = None
    return list(names)


def not_worth_it(model: ModelProto) -> list[str]:
    """Names of products of two activations (attention) and of all sums but the backbone's residual ones.

    The first are small and lose accuracy, a sum with a constant is its product's bias, and a sum that a normalisation
    reads keeps the precision that this one divides by.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    normalised = {node.input[0] for node in model.graph.node if node.op_type == "LayerNormalization"}
    names = []
    for node in model.graph.node:
        weighted = bool(constants & set(node.input))
        # A constant in front is no weight but the label decoder's queries, times what the image gives.
        if node.op_type in ("MatMul", "Gemm", "Einsum") and node.input[1] not in constants:
            names.append(node.name)
        if node.op_type == "Add" and (weighted or node.output[0] in normalised):
            names.append(node.name)
    return names


def _producers(graph: GraphProto) -> dict[str, NodeProto]:
    return {name: node for node in graph.node for name in node.output}
