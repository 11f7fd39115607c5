"""Where OpenVINO runs a compiled graph, and in what types."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from export.backends.base import most_common
from export.errors import MissingRuntimeError

COMPUTES = {"f32": "f32", "bf16": "bf16", "f16": "f16", "i8": "int8", "u8": "int8"}
PRODUCTS = (
    "Convolution",
    "GroupConvolution",
    "FullyConnected",
    "MatMul",
    "Gemm",
    "ScaledDotProductAttention",
    "Deconvolution",
)


def devices(engine: Path, compiled: Any, named: tuple[str, ...]) -> list[str]:
    """The devices that execute the graph; MissingRuntimeError if one of them is not in `named`."""
    executing: list[str] = compiled.get_property("EXECUTION_DEVICES")
    kinds = {device.split(".")[0] for device in named}
    if kinds and not {device.split(".")[0] for device in executing} <= kinds:
        raise MissingRuntimeError(f"{engine.name}: expected {', '.join(named)}, got {executing}; choose one of these")
    return executing


def compute(engine: Path, compiled: Any, asked: str) -> str:
    """Type of most products in the execution graph; MissingRuntimeError if float products do not run in `asked`.

    With f32 all float products must; with less, most of them: a device may lack some kernels.
    """
    products = [computed for _, computed in _products(compiled)]
    floats = [precision for precision in products if precision != "int8"]
    types = set(floats) if asked == "f32" else {most_common(floats)}
    if floats and types != {asked}:
        counts = ", ".join(f"{count} in {precision}" for precision, count in Counter(floats).most_common())
        raise MissingRuntimeError(
            f"{engine.name}: expected float products in {asked}, got {counts}; choose another compute"
        )
    return most_common(products)


def integer(compiled: Any) -> list[str]:
    """Names of the products that multiply integers."""
    return [name for name, computed in _products(compiled) if computed == "int8"]


def placed(core: Any, network: Any, device: str) -> float:
    """Share of the nodes on the first device; only HETERO divides a graph among devices."""
    if not device.startswith("HETERO:"):
        return 1.0
    nodes = Counter(core.query_model(network, device).values())
    first = device.partition(":")[2].split(",")[0]
    return nodes[first] / sum(nodes.values())


def _products(compiled: Any) -> list[tuple[str, str]]:
    """Name and type of every product of the execution graph."""
    nodes = [(node.get_friendly_name(), node.get_rt_info()) for node in compiled.get_runtime_model().get_ordered_ops()]
    return [
        (name, _computed_in(info))
        for name, info in nodes
        if "layerType" in info and _text(info["layerType"]) in PRODUCTS
    ]


def _computed_in(info: Any) -> str:
    """The type that a product is computed in.

    A product whose int8 weights are dequantized on reading has the precision i8 and a kernel in f32 (openvino 2026.4).
    """
    kind = _text(info["runtimePrecision"])
    has_float_kernel = "primitiveType" in info and _text(info["primitiveType"]).endswith("_f32")
    return "f32" if has_float_kernel else COMPUTES.get(kind, kind)


def _text(value: Any) -> str:
    return str(value.astype(str)) if hasattr(value, "astype") else str(value)
