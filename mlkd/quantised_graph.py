"""A tagger's computation as a graph, and the rounding put in where an int8 graph rounds."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor, fx, nn
from torch.export import Dim

from mlkd import fake_quant
from mlkd.fake_quant import Place
from mlkd.models.network import TaggerNet

aten: Any = torch.ops.aten
CONVOLUTIONS = (aten.conv1d.default, aten.conv2d.default, aten.conv2d.padding)
PRODUCTS = (*CONVOLUTIONS, aten.linear.default, aten.matmul.default)
Key = tuple[str, str, int]  # layer, kind and index of a Place


def trace(tagger: TaggerNet, *, features: bool) -> fx.Graph:
    """What the tagger computes in eval mode, for batches of any size: one tuple, stage maps last.

    Parameters and buffers are read from the module that runs it, under the tagger's names for them.
    """
    images = torch.zeros(2, tagger.image_px, tagger.image_px, 3, dtype=torch.uint8)  # 1 would be taken for a constant
    program = torch.export.export(_Flat(tagger, features), (images,), dynamic_shapes=({0: Dim.DYNAMIC},))
    module = program.module(check_guards=False)
    graph = fx.Graph()
    graph.output(graph.graph_copy(module.graph, {}))
    for node in list(graph.nodes):
        if isinstance(node.target, torch._ops.HigherOrderOperator):
            _inline_autocast(graph, node, module)
    for node in list(graph.nodes):
        if node.op == "get_attr":
            assert str(node.target).startswith("tagger."), f"{node.target}: expected something of the tagger's"
            node.target = str(node.target).removeprefix("tagger.")
        elif node.target is aten._assert_tensor_metadata.default:  # names the device that it was traced on
            graph.erase_node(node)
        elif node.op == "call_function":
            _make_functional(node)
            _make_where_it_runs(graph, node)
    return graph


def put_in(graph: fx.Graph, places: Sequence[Place]) -> None:
    """Round what `places` say, with steps that the module's `step(tensor)` gives; batch norms behind are folded in.

    Raises ValueError that names the places which the graph lacks.
    """
    layers = _layers(graph)
    missing = [str(place) for place in places if (place.layer, place.kind, place.index) not in layers]
    if missing:
        raise ValueError(
            f"quantisation-aware: expected all layers of the int8 graph in the net, got no {', '.join(missing)}; "
            "read the places from the graph of this very net"
        )
    pairs = [(layers[place.layer, place.kind, place.index], place) for place in places]
    _round_activations(graph, pairs)
    for node, place in pairs:
        if place.weight:
            _round_weight(graph, node)


class _Flat(nn.Module):
    """Outputs as a tuple without names."""

    def __init__(self, tagger: TaggerNet, features: bool) -> None:
        super().__init__()
        self.tagger, self.features = tagger, features

    def forward(self, images: UInt8[Tensor, "B H W 3"]) -> tuple[Tensor | None, ...]:
        outputs = self.tagger(images, features=self.features)
        return (outputs.logits, outputs.embeddings, outputs.pooled, *(outputs.features or ()))


def _inline_autocast(graph: fx.Graph, node: fx.Node, module: fx.GraphModule) -> None:
    """Attention that is computed in float32 whatever the rest is comes as a graph of its own."""
    kind: Any = node.target
    assert kind.name() == "wrap_with_autocast", f"{node}: expected no graphs in the graph but autocast's, got {kind}"
    _, _, enabled, _, part, *operands = node.args
    assert isinstance(part, fx.Node)
    inner: fx.Graph = module.get_submodule(str(part.target)).graph  # type: ignore[assignment]
    inputs = [one for one in inner.nodes if one.op == "placeholder"]
    with graph.inserting_before(node):
        region = graph.call_function(_enter_autocast, (operands[0], enabled))
        values = graph.graph_copy(inner, dict(zip(inputs, operands, strict=True)))  # type: ignore[arg-type]
        graph.call_function(_exit_autocast, (region,))
    for user in list(node.users):
        assert user.target is operator.getitem, f"{user}: expected it to take one of a graph's outputs"
        user.replace_all_uses_with(values[user.args[1]])  # type: ignore[index,arg-type]
        graph.erase_node(user)
    graph.erase_node(node)
    graph.erase_node(part)


def _enter_autocast(values: Tensor, enabled: bool) -> Any:
    return torch.amp.autocast_mode._enter_autocast(values.device.type, None, enabled, None)  # type: ignore[no-untyped-call]


def _exit_autocast(region: Any) -> None:
    torch.amp.autocast_mode._exit_autocast(region)  # type: ignore[no-untyped-call]


def _make_where_it_runs(graph: fx.Graph, node: fx.Node) -> None:
    """What makes a tensor does so on the device that the net is on, not on that which it was traced on."""
    if isinstance(node.kwargs.get("device"), torch.device):
        with graph.inserting_before(node):
            device = graph.call_function(getattr, (graph.get_attr("mean"), "device"))
        node.update_kwarg("device", device)


def _make_functional(node: fx.Node) -> None:
    """`relu_` to `relu`: what is rounded must be what it was when gradients are computed."""
    target: Any = node.target
    if not (isinstance(target, torch._ops.OpOverload) and target._schema.is_mutable):
        return
    changed, name = node.args[0], target.overloadpacket.__name__
    assert isinstance(changed, fx.Node)
    assert name.endswith("_"), f"{node}: expected an operator that has one without side effects, got {target}"
    assert all(user <= node for user in changed.users), f"{node}: expected nobody to read {changed} after its change"
    node.target = getattr(getattr(aten, name[:-1]), target._overloadname)


def _layers(graph: fx.Graph) -> dict[Key, fx.Node]:
    """Products with weights and sums of two activations, counted as export.precision.places does."""
    moving = _moving(graph)
    counts: Counter[tuple[str, str]] = Counter()
    layers = {}
    for node in graph.nodes:
        operands = len(_operands(node, moving)) if node.op == "call_function" else 0
        product = node.target in PRODUCTS and operands == 1
        if product or (node.target is aten.add.Tensor and operands == 2):
            layer, kind = _module(_batch_norm(node) or node), "product" if product else "sum"
            layers[layer, kind, counts[layer, kind]] = node
            counts[layer, kind] += 1
    return layers


def _moving(graph: fx.Graph) -> set[fx.Node]:
    """What depends on the pictures; an export computes all else once."""
    moving: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op == "placeholder" or any(source in moving for source in node.all_input_nodes):
            moving.add(node)
    return moving


def _operands(node: fx.Node, moving: set[fx.Node]) -> list[int]:
    """Which of its first two arguments depend on the pictures."""
    return [at for at, one in enumerate(node.args[:2]) if isinstance(one, fx.Node) and one in moving]


def _module(node: fx.Node) -> str:
    """The path of the module that it comes from, as export.onnx.graph writes it into names."""
    paths = [path.split("@")[0] for path, _ in node.meta["nn_module_stack"].values()]
    return str([path for path in paths if path and not path.startswith("_")][-1]).removeprefix("tagger.")


def _batch_norm(node: fx.Node) -> fx.Node | None:
    """The batch norm that alone reads a convolution: exports fold it in."""
    users = list(node.users)
    folds = node.target in CONVOLUTIONS and len(users) == 1 and users[0].target is aten.batch_norm.default
    return users[0] if folds else None


def _round_activations(graph: fx.Graph, pairs: Sequence[tuple[fx.Node, Place]]) -> None:
    """Whoever reads a rounded value reads it rounded, as in the int8 graph, but for the layers that are said not to."""
    moving = _moving(graph)
    reads = []
    for node, place in pairs:
        for at, one in zip(_operands(node, moving), place.inputs, strict=True):
            source = node.args[at]
            assert isinstance(source, fx.Node)
            reads.append((node, at, source, one))
    rounded: dict[fx.Node, dict[str, fx.Node]] = {}
    for _, _, source, one in reads:
        if one is not None and one.tensor not in rounded.setdefault(source, {}):
            rounded[source][one.tensor] = _rounded(graph, source, one.tensor)
    for source, by_tensor in rounded.items():
        own = set(by_tensor.values())
        first = next(iter(by_tensor.values()))
        for user in [user for user in source.users if user not in own]:
            user.replace_input_with(source, first)
    for node, at, source, one in reads:
        node.update_arg(at, source if one is None else rounded[source][one.tensor])


def _rounded(graph: fx.Graph, source: fx.Node, tensor: str) -> fx.Node:
    with graph.inserting_after(source):
        log_high = graph.get_attr(f"ranges.{fake_quant.parameter_name(tensor)}")
    with graph.inserting_after(log_high):
        return graph.call_function(fake_quant.learned, (source, log_high))


def _round_weight(graph: fx.Graph, node: fx.Node) -> None:
    batch_norm = _batch_norm(node)
    at, axis = (0, -1) if node.target is aten.matmul.default else (1, 0)
    with graph.inserting_before(node):
        if batch_norm is not None:
            bias = node.args[2] if len(node.args) > 2 else None
            eps = batch_norm.args[7]
            pair = graph.call_function(fake_quant.folded, (node.args[1], bias, *batch_norm.args[1:5], eps))
            weight, bias = (graph.call_function(operator.getitem, (pair, which)) for which in (0, 1))
            node.args = (node.args[0], weight, bias, *node.args[3:])
            batch_norm.replace_all_uses_with(node)
            graph.erase_node(batch_norm)
        node.update_arg(at, graph.call_function(fake_quant.weight, (node.args[at], axis)))
