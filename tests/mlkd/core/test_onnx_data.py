"""Weights in other files are found wherever a graph may have a tensor, however the file is written."""

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from mlkd.core.onnx_data import locations
from tests.helpers import bundles, payloads


def tensor(location: str) -> TensorProto:
    made = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    made.external_data.add(key="offset", value="0")
    made.external_data.add(key="location", value=location)
    return made


def graph(**parts: object) -> onnx.GraphProto:
    return onnx.GraphProto(name="g", **parts)  # type: ignore[arg-type]


def inside(attribute: onnx.AttributeProto) -> onnx.GraphProto:
    return graph(node=[onnx.NodeProto(op_type="X", attribute=[attribute])])


PLACES: dict[str, Callable[[TensorProto], onnx.ModelProto]] = {
    "initializer": lambda w: onnx.ModelProto(graph=graph(initializer=[w])),
    "sparse initializer": lambda w: onnx.ModelProto(
        graph=graph(sparse_initializer=[onnx.SparseTensorProto(values=w, indices=w)])
    ),
    "constant": lambda w: onnx.ModelProto(graph=inside(helper.make_attribute("value", w))),
    "constants": lambda w: onnx.ModelProto(graph=inside(onnx.AttributeProto(name="a", tensors=[w]))),
    "sparse constant": lambda w: onnx.ModelProto(
        graph=inside(onnx.AttributeProto(name="a", sparse_tensor=onnx.SparseTensorProto(values=w)))
    ),
    "branch": lambda w: onnx.ModelProto(graph=inside(helper.make_attribute("then", graph(initializer=[w])))),
    "branches": lambda w: onnx.ModelProto(graph=inside(onnx.AttributeProto(name="a", graphs=[graph(initializer=[w])]))),
    "function": lambda w: onnx.ModelProto(
        functions=[onnx.FunctionProto(node=inside(helper.make_attribute("value", w)).node)]
    ),
    "default of a function": lambda w: onnx.ModelProto(
        functions=[onnx.FunctionProto(attribute_proto=[helper.make_attribute("value", w)])]
    ),
    "training": lambda w: onnx.ModelProto(
        training_info=[onnx.TrainingInfoProto(algorithm=graph(initializer=[w]), initialization=graph(initializer=[w]))]
    ),
}


@pytest.mark.parametrize("place", PLACES)
def test_they_are_found(place: str, tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(PLACES[place](tensor("../secret")).SerializeToString())
    assert set(locations(tmp_path / "a.onnx")) == {"../secret"}


def test_deep_graphs_are_searched(tmp_path: Path) -> None:
    deep = graph(initializer=[tensor("deep")])
    for _ in range(20):
        deep = inside(helper.make_attribute("body", deep))
    (tmp_path / "a.onnx").write_bytes(onnx.ModelProto(graph=deep).SerializeToString())
    assert locations(tmp_path / "a.onnx") == ["deep"]


def test_a_graph_with_its_weights_has_none(tmp_path: Path) -> None:
    assert locations(bundles.write_onnx(tmp_path / "a.onnx")) == []
    (tmp_path / "empty.onnx").touch()
    assert locations(tmp_path / "empty.onnx") == []


def field(number: int, content: bytes, *, high_bits: bool = False) -> bytes:
    """A field of bytes; with `high_bits` its number has bits that protobuf drops."""
    tag, size = number << 3 | 2 | (high_bits << 34), len(content)
    return _varint(tag) + _varint(size) + content


def _varint(value: int) -> bytes:
    rest = bytearray()
    while value > 127:
        rest.append(value & 127 | 128)
        value >>= 7
    return bytes((*rest, value))


def test_unusual_spellings_are_read_as_protobuf_reads_them(tmp_path: Path) -> None:
    entry = field(2, b"../secret") + field(1, b"other") + field(1, b"location")  # the last of two counts
    content = field(7, field(5, field(13, entry, high_bits=True)))
    (tmp_path / "a.onnx").write_bytes(content)
    assert locations(tmp_path / "a.onnx") == ["../secret"]
    padded = entry.replace(b"\x09../secret", b"\x89\x00../secret")  # a size in more bytes than it needs
    (tmp_path / "a.onnx").write_bytes(field(7, field(5, field(13, padded))))
    assert locations(tmp_path / "a.onnx") == ["../secret"]
    assert onnx.load_model_from_string(field(7, field(5, field(13, padded)))).graph.initializer[0].external_data


def test_a_damaged_graph_is_an_error(tmp_path: Path) -> None:
    content = payloads.graph_with_weights_in("x", tmp_path / "a.onnx").read_bytes()
    for damaged in (content[:-1], content[:100], b"\xff" * 20, b"\x3b\x00", b"\x3a\x05a", b"\x39abc"):
        (tmp_path / "a.onnx").write_bytes(damaged)
        with pytest.raises(ValueError, match="a damaged graph"):
            locations(tmp_path / "a.onnx")
