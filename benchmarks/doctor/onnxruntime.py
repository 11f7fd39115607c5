"""Layers of an engine of ONNX Runtime: its profile for the times, its optimised graph for what stands where."""

from __future__ import annotations

import re
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.doctor.layers import RUNS, WARM, Layer, Role, least, noise
from export.backends import OnnxRuntime
from export.backends.onnxruntime import PROVIDERS
from export.backends.onnxruntime_kernels import COMPUTES, Kernel, read_profile

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

QUANTISE, DEQUANTISE = "QuantizeLinear", "DequantizeLinear"
BLOCKED = "_nchwc"
REORDERS = ("ReorderInput", "ReorderOutput")
FUSED = re.compile(r"^fused |_token_\d+$|/MatMul\w+Fusion/?$")  # what it adds to the name of a node made of several


def layers(engine: Path, backend: OnnxRuntime) -> list[Layer]:
    """In the order in which they run."""
    import onnx
    import onnxruntime

    with tempfile.TemporaryDirectory(prefix="onnxruntime-") as folder:
        options = backend.options()
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder, "profile"))
        options.optimized_model_filepath = str(Path(folder, "optimised.onnx"))
        session = onnxruntime.InferenceSession(str(engine), options, providers=[PROVIDERS[backend.device]])
        images = session.get_inputs()[0]
        for _ in range(WARM + RUNS):
            session.run(None, {images.name: noise(images.shape[1:])})
        kernels = read_profile(Path(session.end_profiling()))
        graph = onnx.load(Path(folder, "optimised.onnx"))
    return _layers(kernels[len(kernels) // (WARM + RUNS) * WARM :], graph, onnx.load(engine))


def _layers(kernels: list[Kernel], model: ModelProto, ours: ModelProto) -> list[Layer]:
    times = least(((kernel.name, kernel.milliseconds) for kernel in kernels), RUNS)
    nodes = _nodes(kernels, model)
    makers = {output: node.op_type for node in model.graph.node for output in node.output}
    sources = {output: node for node in ours.graph.node for output in node.output}
    readers = {name: node.op_type for node in reversed(model.graph.node) for name in node.input}
    return [
        Layer(
            name=_name(kernel, nodes.get(kernel.name), sources),
            operator=kernel.operator,
            computes=COMPUTES.get(kernel.reads, kernel.reads),
            role=_role(kernel),
            milliseconds=times[kernel.name],
            island=_island(kernel, nodes.get(kernel.name), makers),
            behind=_behind(nodes.get(kernel.name), readers),
        )
        for kernel in {kernel.name: kernel for kernel in kernels}.values()
    ]


def _name(kernel: Kernel, optimised: NodeProto | None, sources: dict[str, NodeProto]) -> str:
    """Ours: a blocked convolution is called after the tensor that it and its activation give.

    Another node that has no name of ours is called after what gave its result.
    """
    if "/" not in kernel.name and optimised is not None and optimised.output[0] in sources:
        return str(sources[optimised.output[0]].name)
    node = sources.get(kernel.name.removesuffix(BLOCKED)) if kernel.name.endswith(BLOCKED) else None
    while node is not None and node.op_type != "Conv":
        node = sources.get(node.input[0])
    return node.name if node is not None else FUSED.sub("", kernel.name)


def _nodes(kernels: list[Kernel], model: ModelProto) -> dict[str, NodeProto]:
    """By the profile's names, in which a node that has none is its operator and a number."""
    nameless: dict[str, list[NodeProto]] = defaultdict(list)
    for node in model.graph.node:
        if not node.name:
            nameless[node.op_type].append(node)
    nodes = {node.name: node for node in model.graph.node if node.name}
    for kernel in {kernel.name: kernel for kernel in kernels if kernel.name not in nodes}.values():
        if nameless[kernel.operator]:
            nodes[kernel.name] = nameless[kernel.operator].pop(0)
    return nodes


def _role(kernel: Kernel) -> Role:
    if kernel.operator in (QUANTISE, DEQUANTISE):
        return "pair"
    # the exporter's names hold the module and a slash: a transposition without came from the runtime
    if kernel.operator in REORDERS or (kernel.operator == "Transpose" and "/" not in kernel.name):
        return "reorder"
    return "product" if kernel.product else "other"


def _island(kernel: Kernel, node: NodeProto | None, makers: dict[str, str]) -> bool:
    if node is None or kernel.operator in (QUANTISE, DEQUANTISE):
        return False
    return any(makers.get(name) == DEQUANTISE for name in node.input)


def _behind(node: NodeProto | None, readers: dict[str, str]) -> str:
    """A fused activation, or whatever reads the output, unless that quantises it."""
    if node is None:
        return ""
    fused: Any = next((entry.s.decode() for entry in node.attribute if entry.name == "activation"), "")
    reader = readers.get(node.output[0], "")
    return str(fused or ("" if reader == QUANTISE else reader))
