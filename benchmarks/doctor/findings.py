"""What keeps an int8 engine from being fast, largest share of its time first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.doctor.layers import Layer, in_float

NOTABLE = 0.01  # share of the time under which nothing is worth a line
SLOWER, SLOWER_MS = 1.25, 0.003  # than in float; profiles count in microseconds
ARITHMETIC = ("Add", "Sub", "Mul", "Div")  # parts of activations, which are called after something else
PLAIN = ("ref", "reorder")  # how OpenVINO's names of kernels begin that are not vectorised


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One cause: the layers it concerns, slowest first, and their share of the int8 engine's time, 0..1."""

    cause: str
    layers: tuple[str, ...]
    share: float
    text: str
    change: str


def find(int8: Sequence[Layer], plain: Sequence[Layer], precision: str) -> tuple[Finding, ...]:
    """Findings of an int8 engine, given the layers of the float one and the precision of the int8 graph."""
    total = sum(layer.milliseconds for layer in int8)
    found = [
        _dequantised(int8, precision),
        _float_products(int8),
        _between(int8),
        _pairs(int8),
        _reorders(int8),
        _slow(int8, plain),
        _remainder(int8),
    ]
    findings = [_finding(cause, layers, total, text, change) for cause, layers, text, change in found]
    return tuple(sorted((one for one in findings if one.share >= NOTABLE), key=lambda one: -one.share))


Found = tuple[str, list[Layer], str, str]  # cause, layers, text, change


def _finding(cause: str, layers: Sequence[Layer], total: float, text: str, change: str) -> Finding:
    slowest = sorted(layers, key=lambda layer: -layer.milliseconds)
    share = sum(layer.milliseconds for layer in layers) / total if total else 0.0
    return Finding(cause=cause, layers=tuple(layer.name for layer in slowest), share=share, text=text, change=change)


def _dequantised(int8: Sequence[Layer], precision: str) -> Found:
    products = [layer for layer in int8 if layer.role == "product"]
    layers = [layer for layer in products if layer.island and in_float(layer)]
    behind = [layer.behind for layer in layers if layer.behind]
    why = f"; before it could be quantised again the result goes through {_counted(behind)}" if behind else ""
    text = f"{len(layers)} of {len(products)} products, on dequantised tensors in float{why}"
    if precision == "int8":
        change = (
            "use precision int8_x86 on x86: it quantises behind every convolution, in ranges that take ReLU and Clip in"
        )
    else:
        change = "take a net whose activations fuse (ReLU, ReLU6), or leave these layers in float, without Q/DQ"
    return "dequantised products", layers, text, change


def _float_products(int8: Sequence[Layer]) -> Found:
    layers = [layer for layer in int8 if layer.role == "product" and in_float(layer) and not layer.island]
    places = _counted(f"{layer.operator} in {layer.name.partition('.')[0].partition('/')[0]}" for layer in layers)
    change = (
        "take a net in which they weigh less (a smaller head, fewer depthwise convolutions), "
        "or quantise those that the graph leaves in float"
    )
    return "float products", layers, f"products in float ({places})", change


def _between(int8: Sequence[Layer]) -> Found:
    layers = _islands(int8)
    text = f"{_operators(layers)} computing in float between a dequantise and a quantise"
    return "float operators between pairs", layers, text, _without(layers)


def _pairs(int8: Sequence[Layer]) -> Found:
    layers = [layer for layer in int8 if layer.role == "pair"]
    text = f"{_operators(layers)} that fused with no neighbour"
    return "pairs", layers, text, _without(_islands(int8))


def _reorders(int8: Sequence[Layer]) -> Found:
    layers = [layer for layer in int8 if layer.role == "reorder"]
    plain = sorted({layer.kernel for layer in layers if layer.kernel.startswith(PLAIN)})
    how = f", not vectorised: {', '.join(plain)}" if plain else ""
    text = f"{_operators(layers)} that the runtime put between neighbours of different layouts{how}"
    return "reorders", layers, text, "keep neighbours in one precision: longer runs of int8, or of float"


def _slow(int8: Sequence[Layer], plain: Sequence[Layer]) -> Found:
    twins = {layer.name: layer.milliseconds for layer in plain if layer.role == "product"}
    products = [layer for layer in int8 if layer.role == "product" and layer.computes == "int8" and layer.name in twins]
    layers = [layer for layer in products if layer.milliseconds > SLOWER * twins[layer.name] + SLOWER_MS]
    kernels = ", ".join(sorted({layer.kernel or layer.operator for layer in layers}))
    text = f"products that take longer in integers than in float ({len(layers)}: {kernels})"
    return "slow integer kernels", layers, text, "leave these layers in float"


def _remainder(int8: Sequence[Layer]) -> Found:
    layers = [layer for layer in int8 if layer.role == "other" and in_float(layer) and not layer.island]
    text = f"{_operators(layers)} that multiply nothing and cost the same in every precision"
    change = "take a larger backbone or a smaller head: the less of the time is in products, the less int8 can gain"
    return "float remainder", layers, text, change


def _islands(int8: Sequence[Layer]) -> list[Layer]:
    return [layer for layer in int8 if layer.role == "other" and layer.island and in_float(layer)]


def _without(islands: Sequence[Layer]) -> str:
    """What to do about operators that force a pair in front of them and one behind."""
    if not islands:
        return "leave the layers around them in float, without Q/DQ"
    named = [layer.operator for layer in islands if layer.operator not in ARITHMETIC] or [islands[0].operator]
    commonest = Counter(named).most_common(1)[0][0]
    return f"take a net without {commonest} there (ReLU for an activation), or leave the layers around it in float"


def _operators(layers: Sequence[Layer]) -> str:
    return _counted(layer.operator for layer in layers)


def _counted(names: Iterable[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in Counter(names).most_common(4))
