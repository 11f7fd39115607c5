"""Where a signed Q/DQ graph rounds, in terms of the modules that its layers come from."""

from __future__ import annotations

from collections import Counter

from onnx import ModelProto, NodeProto, numpy_helper

from mlkd.fake_quant import HIGHEST, Place, Rounded

PRODUCTS = frozenset({"Conv", "MatMul", "Gemm"})


def read_places(model: ModelProto) -> tuple[Place, ...]:
    """The layers of a graph by `int8` that read something rounded, or as it is what others read rounded.

    Raises ValueError where the graph rounds no activations.
    """
    graph = _Graph(model)
    counts: Counter[tuple[str, str]] = Counter()
    places = []
    for node in model.graph.node:
        operands = graph.operands(node)
        if operands is None:
            continue
        layer, kind = node.name.split("/")[0], "sum" if node.op_type == "Add" else "product"
        if graph.rounds(node):
            places.append(
                Place(
                    layer=layer,
                    kind="sum" if kind == "sum" else "product",
                    index=counts[layer, kind],
                    inputs=tuple(graph.rounded.get(name) for name in operands),
                    weight=any(name in graph.constants and name in graph.made for name in node.input[:2]),
                )
            )
        counts[layer, kind] += 1
    if not places:
        raise ValueError("places: expected a graph with Q/DQ on activations, got none; take the one that int8 writes")
    return tuple(places)


class _Graph:
    """What the nodes of a Q/DQ graph read."""

    def __init__(self, model: ModelProto) -> None:
        self.values = {tensor.name: tensor for tensor in model.graph.initializer}
        self.constants = set(self.values)
        self.made: dict[str, NodeProto] = {name: node for node in model.graph.node for name in node.output}
        self.rounded: dict[str, Rounded] = {}  # by what DequantizeLinear gives
        for node in model.graph.node:
            if all(name in self.constants or not name for name in node.input):
                self.constants |= set(node.output)
            elif node.op_type == "DequantizeLinear":
                self.rounded[node.output[0]] = self._rounded(node)
        self.sources = {one.tensor for one in self.rounded.values()}

    def operands(self, node: NodeProto) -> list[str] | None:
        """The activations of a product with weights or of a sum of two activations; None for other nodes."""
        if node.op_type not in PRODUCTS | {"Add"}:
            return None
        names = [name for name in node.input[:2] if name not in self.constants]
        if node.op_type == "Add":
            return names if len(names) == 2 else None
        weighted = node.input[1] in self.constants  # a constant in front is the label decoder's queries
        return names if len(names) == 1 and weighted and not self._is_sum(node) else None

    def rounds(self, node: NodeProto) -> bool:
        """Whether it reads something that is rounded, for it or for others."""
        return any(name in self.rounded or name in self.sources for name in node.input[:2])

    def _is_sum(self, node: NodeProto) -> bool:
        """graph.sums_as_products writes a sum over the last axis as a product with ones."""
        weights = self.values.get(node.input[1])
        return weights is not None and weights.dims[-1:] == [1] and bool((numpy_helper.to_array(weights) == 1).all())

    def _rounded(self, node: NodeProto) -> Rounded:
        source = self.made[node.input[0]]
        step = float(numpy_helper.to_array(self.values[source.input[1]]))
        return Rounded(tensor=source.input[0], low=-HIGHEST * step, high=HIGHEST * step)
