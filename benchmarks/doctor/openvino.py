"""Layers of an engine of OpenVINO, from its performance counters."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from benchmarks.doctor.layers import RUNS, Layer, Role, noise
from export.backends import OpenVino
from export.backends.openvino_layers import COMPUTES, PRODUCTS

# a reorder's name ends in what it turns into what: _f32_u8_NEXT changes the type, _acdb_abcd_NEXT only the layout
RETYPED = re.compile(r"_(?:f32|bf16|f16)_[iu]8_|_[iu]8_(?:f32|bf16|f16)_")
ROUNDS = 5
PAIRS = ("FakeQuantize", "Convert")
FUSED = re.compile(r"(?:/MatMul\w+Fusion/?|/WithoutBiases)+$")  # what it adds to the name of a product with a bias


def layers(engine: Path, backend: OpenVino) -> list[Layer]:
    """In the order in which they run."""
    rounds, origins = zip(*(_counters(engine, backend) for _ in range(ROUNDS)), strict=True)
    # by place: operators that the runtime itself made are named anew each time
    return [
        _layer(alike[0], min(map(_milliseconds, alike)), origins[0])
        for alike in zip(*rounds, strict=True)
        if _ran(alike)
    ]


def _counters(engine: Path, backend: OpenVino) -> tuple[list[Any], dict[str, str]]:
    """Means over a few images, and what operators were made of; counters begin at zero in a newly compiled model."""
    import openvino

    settings = backend.settings() | {"PERF_COUNT": True}
    compiled = openvino.Core().compile_model(str(engine), backend.device, settings)
    request = compiled.create_infer_request()
    image = noise([side.get_length() for side in list(compiled.inputs[0].get_partial_shape())[1:]])
    for _ in range(RUNS):
        request.infer([image])
    made = {node.get_friendly_name(): _origin(node) for node in compiled.get_runtime_model().get_ordered_ops()}
    return list(request.get_profiling_info()), made


def _origin(node: Any) -> str:
    """Our first operator of those that were fused into one; empty where none is ours."""
    names = str(node.get_rt_info()["originalLayersNames"].astype(str)).split(",")
    return next((name for name in names if "/" in name), "")


def _ran(alike: tuple[Any, ...]) -> bool:
    return all(counter.status == type(counter).EXECUTED for counter in alike)


def _milliseconds(counter: Any) -> float:
    return float(counter.real_time.total_seconds() * 1e3)


def _layer(counter: Any, milliseconds: float, origins: dict[str, str]) -> Layer:
    given = counter.node_name
    name = given if "/" in given else origins.get(given) or given
    kind = counter.exec_type.rpartition("_")[2].lower()
    return Layer(
        name=FUSED.sub("", name),
        operator=counter.node_type,
        computes=COMPUTES.get(kind, kind),
        role=role(counter.node_type, counter.node_name),
        milliseconds=milliseconds,
        kernel=counter.exec_type,
    )


def role(operator: str, name: str) -> Role:
    """Of an operator called `name`: a reorder that changes the type is half of a pair."""
    if operator in PAIRS or (operator == "Reorder" and RETYPED.search(name)):
        return "pair"
    if operator == "Reorder":
        return "reorder"
    return "product" if operator in PRODUCTS else "other"
