"""Places are where the graph rounds: all of them, by the names that torch has for the layers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from export.precision.int8 import int8
from export.precision.places import read_places
from export.precision.qdq import layers
from mlkd.fake_quant import Place
from mlkd.models.network import TaggerNet


@pytest.fixture(scope="module")
def graph(fp32: Path, calibration: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return int8(fp32, calibration, tmp_path_factory.mktemp("places") / "int8.onnx")


@pytest.fixture(scope="module")
def places(graph: Path) -> tuple[Place, ...]:
    return read_places(onnx.load(graph))


def by_name(places: tuple[Place, ...], layer: str) -> list[Place]:
    return [place for place in places if place.layer == layer]


def test_every_rounded_tensor_and_weight_is_in_a_place(graph: Path, places: tuple[Place, ...]) -> None:
    nodes = onnx.load(graph).graph.node
    roundings = {node.input[0] for node in nodes if node.op_type == "QuantizeLinear"}
    assert {one.tensor for place in places for one in place.inputs if one} == roundings
    weights = sum(node.op_type == "DequantizeLinear" for node in nodes) - len(roundings)
    assert sum(place.weight for place in places) == weights > 10


def test_ranges_are_those_of_the_graph(graph: Path, places: tuple[Place, ...]) -> None:
    steps = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(graph).graph.initializer}
    for one in (one for place in places for one in place.inputs if one):
        assert one.high == pytest.approx(127 * float(steps[f"{one.tensor}_scale"]), rel=1e-6)
        assert one.low == -one.high


def test_layers_are_modules(places: tuple[Place, ...], tagger: TaggerNet) -> None:
    modules = dict(tagger.named_modules())
    assert all(place.layer in modules for place in places)
    sums = [place for place in places if place.kind == "sum" and place.layer.startswith("backbone")]
    assert [place.layer for place in sums] == [f"backbone.layer{stage}.0" for stage in (1, 2, 3, 4)]
    assert all(len(place.inputs) == 2 and all(place.inputs) and not place.weight for place in sums)


def test_what_stays_float_is_no_place(fp32: Path, places: tuple[Place, ...]) -> None:
    assert {place.layer for place in places if place.weight} == {
        name.split("/")[0] for name in layers(fp32) if "Add" not in name
    }
    (attended,) = by_name(places, "head")  # the second sum of the head; the first one has a constant for a query
    assert attended.kind == "sum"
    assert [one is None for one in attended.inputs] == [False, True]


def test_a_layer_back_in_float_reads_what_was_before_rounding(
    fp32: Path, calibration: NDArray[np.uint8], tmp_path: Path
) -> None:
    kept = "backbone.layer1.0.bn1/Conv_0"
    assert kept in layers(fp32)
    places = read_places(onnx.load(int8(fp32, calibration, tmp_path / "int8.onnx", keep_float=[kept])))
    (place,) = by_name(places, "backbone.layer1.0.bn1")
    assert place.inputs == (None,)  # the residual sum reads it rounded
    assert not place.weight


def test_a_float_graph_has_none(fp32: Path) -> None:
    with pytest.raises(ValueError, match="places: expected a graph with Q/DQ on activations"):
        read_places(onnx.load(fp32))
