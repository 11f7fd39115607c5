from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from mlkd.core.labels import Labels
from mlkd.models.outputs import Outputs
from mlkd.teachers import CheckpointTeacher, OnnxTeacher, Several
from mlkd.teachers.base import padded
from tests.helpers import taggers

LABELS = Labels(("red", "green", "blue"))
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
WEIGHT = np.array([[2, -1, 0.5], [0.3, 1, -1], [-1, 0.2, 1]], np.float32)
BIAS = np.array([0.1, -0.2, 0.3], np.float32)


def images(count: int = 5) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8))


def foreign(
    file: Path,
    *,
    layout: str = "NCHW",
    output: str = "scores",
    batch: str | int = "batch",
    px: str | int = 32,
    kind: int = TensorProto.FLOAT,
    bias: NDArray[Any] = BIAS,
    weight: NDArray[Any] = WEIGHT,
    names: tuple[str, ...] = LABELS.names,
    more_inputs: int = 0,
) -> Path:
    """A graph as others write it: the mean of each channel, a matrix, perhaps a sigmoid; and an output besides."""
    image = [3, px, px] if layout == "NCHW" else [px, px, 3]
    of_floats = TensorProto.FLOAT if kind == TensorProto.UINT8 else kind
    dtype = helper.tensor_dtype_to_np_dtype(of_floats)
    inputs = [helper.make_tensor_value_info("x", kind, [batch, *image])]
    inputs += [helper.make_tensor_value_info(f"more{at}", kind, [1]) for at in range(more_inputs)]
    axes = [2, 3] if layout == "NCHW" else [1, 2]
    weight = weight / 255 if kind == TensorProto.UINT8 else weight
    weights = {"axes": np.array(axes, np.int64), "weight": weight.astype(dtype), "bias": bias.astype(dtype)}
    last = "sums" if output == "logits" else "probabilities"
    nodes = [
        helper.make_node("Cast", ["x"], ["values"], to=of_floats),
        helper.make_node("ReduceMean", ["values", "axes"], ["means"], keepdims=0),
        helper.make_node("Gemm", ["means", "weight", "bias"], ["sums"]),
        helper.make_node("Sigmoid", ["sums"], ["probabilities"]),
        helper.make_node("ReduceMean", ["values"], ["brightness"], keepdims=0),
    ]
    outputs = [
        helper.make_tensor_value_info(last, of_floats, [batch, len(bias)]),
        helper.make_tensor_value_info("brightness", of_floats, []),
    ]
    initial = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "foreign", inputs, outputs, initial)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    if names:
        helper.set_model_props(model, {"labels": json.dumps(names)})
    onnx.checker.check_model(model)
    onnx.save(model, file)
    return file


def by_hand(images: torch.Tensor) -> NDArray[np.float64]:
    """The logits of `foreign` in float64."""
    values = (images.numpy().astype(np.float64) / 255 - MEAN) / STD
    return values.mean((1, 2)) @ WEIGHT.astype(np.float64) + BIAS


def said(source: OnnxTeacher, images: torch.Tensor) -> Outputs:
    return source.load(LABELS)({32: images, 16: images[:, ::2, ::2]})


def test_pixels_as_they_are(tmp_path: Path) -> None:
    source = OnnxTeacher(path=foreign(tmp_path / "a.onnx", kind=TensorProto.UINT8), image_px=32, layout="NCHW")
    expected = images().numpy().astype(np.float64).mean((1, 2)) @ WEIGHT / 255 + BIAS
    got = said(source, images())
    np.testing.assert_allclose(got.logits, expected, atol=1e-4)
    assert (got.embeddings, got.pooled) == (None, None)
    with pytest.raises(ValueError, match="expected no mean, std and white for a graph that reads uint8"):
        replace(source, mean=MEAN).load(LABELS)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("output", ["scores", "logits"])
@pytest.mark.parametrize("batch", ["batch", 1, 4])
def test_a_graph_of_others(tmp_path: Path, layout: Any, output: Any, batch: str | int) -> None:
    file = foreign(tmp_path / "a.onnx", layout=layout, output=output, batch=batch)
    source = OnnxTeacher(path=file, image_px=32, layout=layout, mean=MEAN, std=STD, output=output)
    np.testing.assert_allclose(said(source, images()).logits, by_hand(images()), atol=1e-4)


def test_half_floats_and_sizes_that_the_graph_leaves_open(tmp_path: Path) -> None:
    file = foreign(tmp_path / "a.onnx", kind=TensorProto.FLOAT16, px="px")
    source = OnnxTeacher(path=file, image_px=32, layout="NCHW", mean=MEAN, std=STD)
    np.testing.assert_allclose(said(source, images()).logits, by_hand(images()), atol=2e-2)  # scores in float16


def test_scores_of_nought_and_one_have_finite_logits(tmp_path: Path) -> None:
    file = foreign(tmp_path / "a.onnx", bias=np.array([-200, 0, 200], np.float32))
    logits = said(OnnxTeacher(path=file, image_px=32, layout="NCHW"), images()).logits
    limit = np.log((1 - 1e-6) / 1e-6)
    np.testing.assert_allclose(logits[:, 0], -limit, rtol=1e-4)
    np.testing.assert_allclose(logits[:, 2], limit, rtol=1e-2)  # 1 - 1e-6 in float32


def test_beside_a_net_of_ours_it_adds_its_logits(tmp_path: Path) -> None:
    ours = CheckpointTeacher(path=taggers.save(tmp_path / "net", LABELS)).load(LABELS)
    theirs = OnnxTeacher(path=foreign(tmp_path / "a.onnx"), image_px=32, layout="NCHW").load(LABELS)
    with torch.no_grad():
        both, one, other = (teacher({32: images()}) for teacher in (Several((ours, theirs)), ours, theirs))
    torch.testing.assert_close(both.logits, (one.logits + other.logits) / 2)
    torch.testing.assert_close(both.embeddings, one.embeddings)
    torch.testing.assert_close(both.pooled, one.pooled)


@pytest.mark.parametrize("name", ["labels.txt", "labels.json"])
def test_a_list_of_labels_beside_it(tmp_path: Path, name: str) -> None:
    source = OnnxTeacher(path=foreign(tmp_path / "a.onnx"), image_px=32, layout="NCHW", labels=tmp_path / name)
    assert source.files() == (tmp_path / "a.onnx", tmp_path / name)
    for names in (LABELS.names, ("red", "blue", "green")):
        (tmp_path / name).write_text(json.dumps(names) if name.endswith("json") else "\n".join(names) + "\n")
        columns = [names.index(name) for name in LABELS.names]
        got = source.load(LABELS)({32: images()}).logits
        whole = replace(source, labels=None).load(LABELS)({32: images()}).logits  # by its metadata
        np.testing.assert_array_equal(got, whole[:, columns])


@pytest.mark.parametrize("wanted", [("blue", "red", "green"), ("blue", "red"), ("green",)])
def test_columns_are_taken_by_the_names_in_its_metadata(tmp_path: Path, wanted: tuple[str, ...]) -> None:
    source = OnnxTeacher(path=foreign(tmp_path / "a.onnx"), image_px=32, layout="NCHW")
    got = source.load(Labels(wanted))({32: images()}).logits
    expected = said(source, images()).logits[:, [LABELS.names.index(name) for name in wanted]]
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("red", "green", "teal"), r"expected the 3 labels of the data by name, got 3 \(red, green, teal\), without b"),
        (("red", "green", "blue", "red"), "expected each label once, got red more than once"),
    ],
)
def test_labels_that_it_lacks_or_has_twice(tmp_path: Path, names: tuple[str, ...], told: str) -> None:
    bias = np.zeros(len(names), np.float32)
    weight = np.zeros((3, len(names)), np.float32)
    source = OnnxTeacher(path=foreign(tmp_path / "a.onnx", names=names, bias=bias, weight=weight), image_px=32)
    with pytest.raises(ValueError, match=told):
        replace(source, layout="NCHW").load(LABELS)


def test_without_names_it_says_that_they_are_in_order_or_is_refused(tmp_path: Path) -> None:
    source = OnnxTeacher(path=foreign(tmp_path / "a.onnx", names=()), image_px=32, layout="NCHW")
    in_order = replace(source, labels_in_order=True)
    for teacher, labels in ((source, LABELS), (source, None), (in_order, None)):
        with pytest.raises(ValueError, match="expected the names of its labels, got none; name a file with `labels`"):
            teacher.load(labels)
    named = replace(source, path=foreign(tmp_path / "b.onnx"))
    np.testing.assert_array_equal(said(in_order, images()).logits, said(named, images()).logits)
    with pytest.raises(ValueError, match=r"expected one output \(B, 2\) for its 2 labels, got probabilities .*, 3\]"):
        in_order.load(Labels(("red", "green")))


@pytest.mark.parametrize(
    "text",
    [
        '{"blue": 2, "red": 0, "green": 1}',
        '{"2": "blue", "0": "red", "1": "green"}',
        '\ufeff["red", "green", "blue"]',
    ],
)
def test_json_may_name_the_column_of_each_label(tmp_path: Path, text: str) -> None:
    (tmp_path / "l.json").write_text(text, encoding="utf-8")
    source = OnnxTeacher(path=foreign(tmp_path / "a.onnx", names=()), image_px=32, layout="NCHW")
    found = replace(source, labels=tmp_path / "l.json").load(Labels(("blue", "green", "red")))({32: images()}).logits
    whole = said(replace(source, labels_in_order=True), images()).logits
    np.testing.assert_array_equal(found, whole[:, [2, 1, 0]])


def test_of_several_outputs_one_is_named(tmp_path: Path) -> None:
    """The graph with its logits as an output as well."""
    model = onnx.load(foreign(tmp_path / "a.onnx"))
    model.graph.output.append(helper.make_tensor_value_info("sums", TensorProto.FLOAT, ["batch", 3]))
    onnx.save(model, tmp_path / "b.onnx")
    source = OnnxTeacher(path=tmp_path / "b.onnx", image_px=32, layout="NCHW", mean=MEAN, std=STD)
    told = r"expected one output{} \(B, 3\) .*, got probabilities \['batch', 3\], brightness \[\], sums .*output_name: "
    with pytest.raises(ValueError, match=told.format("")):
        source.load(LABELS)
    for name in ("nothing", "brightness"):
        with pytest.raises(ValueError, match=told.format(f" named {name}")):
            replace(source, output_name=name).load(LABELS)
    for name, kind in (("probabilities", "scores"), ("sums", "logits")):
        teacher = replace(source, output_name=name, output=kind)
        np.testing.assert_allclose(said(teacher, images()).logits, by_hand(images()), atol=1e-4)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("l.json", b"{"),
        ("l.json", b"3"),
        ("l.json", b"null"),
        ("l.json", b'["red", 3]'),
        ("l.json", b'{"red": 0, "green": 0, "blue": 1}'),
        ("l.txt", b"caf\xe9\n"),
    ],
)
def test_a_damaged_list_of_labels_is_named(tmp_path: Path, name: str, text: bytes) -> None:
    (tmp_path / name).write_bytes(text)
    source = OnnxTeacher(path=foreign(tmp_path / "a.onnx"), image_px=32, layout="NCHW", labels=tmp_path / name)
    with pytest.raises(ValueError, match=rf"{name}: expected names in UTF-8, one a line or as a JSON list, got: "):
        source.load(LABELS)


@pytest.mark.parametrize("kind", [TensorProto.UINT8, TensorProto.FLOAT])
def test_channels_the_other_way_round(tmp_path: Path, kind: int) -> None:
    source = OnnxTeacher(path=foreign(tmp_path / "a.onnx", kind=kind), image_px=32, layout="NCHW")
    mirrored = torch.flip(images(), [3])
    assert not np.allclose(said(source, mirrored).logits, said(source, images()).logits, atol=1e-3)
    got = said(replace(source, channels="bgr"), mirrored)
    np.testing.assert_allclose(got.logits, said(source, images()).logits, atol=1e-6)


def test_values_up_to_255_with_mean_and_std_in_their_units(tmp_path: Path) -> None:
    source = OnnxTeacher(path=foreign(tmp_path / "a.onnx"), image_px=32, layout="NCHW", mean=MEAN, std=STD)
    mean, std = (tuple(255 * value for value in three) for three in (MEAN, STD))
    got = said(replace(source, white=255, mean=mean, std=std), images())
    np.testing.assert_allclose(got.logits, by_hand(images()), atol=1e-4)
    pixels = OnnxTeacher(path=foreign(tmp_path / "b.onnx", kind=TensorProto.UINT8), image_px=32, layout="NCHW")
    with pytest.raises(ValueError, match="expected no mean, std and white for a graph that reads uint8"):
        replace(pixels, white=255).load(LABELS)


@pytest.mark.parametrize(
    ("padding", "aspect", "box"),
    [
        ("center", 2.0, (0, 8, 32, 24)),
        ("corner", 2.0, (0, 0, 32, 16)),
        ("center", 0.25, (12, 0, 20, 32)),
        ("corner", 0.25, (0, 0, 8, 32)),
        ("center", 1.0, (0, 0, 32, 32)),
    ],
)
def test_padding_gives_images_their_aspect_back(
    tmp_path: Path, padding: Any, aspect: float, box: tuple[int, int, int, int]
) -> None:
    """An image of one colour stays it, whatever resizes it; so the mean of a channel follows from the areas."""
    colour, value = np.array([200, 100, 50]), 30
    left, top, right, bottom = box
    square = np.full((1, 32, 32, 3), value, np.uint8)
    square[0, top:bottom, left:right] = colour
    images = torch.from_numpy(np.broadcast_to(colour.astype(np.uint8), (1, 32, 32, 3)).copy())
    source = OnnxTeacher(
        path=foreign(tmp_path / "a.onnx"), image_px=32, layout="NCHW", padding=padding, padding_value=value
    )
    teacher = source.load(LABELS)
    assert teacher.pads
    np.testing.assert_array_equal(padded(images.numpy(), np.array([aspect]), value, corner=padding == "corner"), square)
    got = teacher({32: images}, np.array([aspect]))
    expected = replace(source, padding="none").load(LABELS)({32: torch.from_numpy(square)})
    np.testing.assert_allclose(got.logits, expected.logits, atol=1e-6)


@pytest.mark.parametrize(
    ("graph", "fields", "told"),
    [
        ({}, {"layout": "NHWC"}, r"expected one input of .* \(B, 32, 32, 3\), got .* 3, 32, 32\]; correct layout or"),
        ({}, {"image_px": 48}, r"\(B, 3, 48, 48\), got tensor\(float\) \['batch', 3, 32, 32\]"),
        ({"more_inputs": 1}, {}, r"expected one input .*, got tensor\(float\) .*, tensor\(float\) \[1\]"),
        ({"kind": TensorProto.DOUBLE}, {}, r"expected one input of uint8, float or float16 .*, got tensor\(double\)"),
    ],
)
def test_a_graph_of_another_form_is_refused(
    tmp_path: Path, graph: dict[str, Any], fields: dict[str, Any], told: str
) -> None:
    source = OnnxTeacher(path=foreign(tmp_path / "a.onnx", **graph), image_px=32, layout="NCHW")
    with pytest.raises(ValueError, match=told):
        replace(source, **fields).load(LABELS)


def test_logits_taken_for_scores_are_noticed(tmp_path: Path) -> None:
    source = OnnxTeacher(path=foreign(tmp_path / "a.onnx", output="logits"), image_px=32, layout="NCHW")
    with pytest.raises(ValueError, match=r"expected scores in 0\.\.1, got .*; set output: logits"):
        said(source, images())


def test_scores_taken_for_logits_are_noticed(tmp_path: Path) -> None:
    source = OnnxTeacher(path=foreign(tmp_path / "a.onnx"), image_px=32, layout="NCHW", output="logits")
    with pytest.raises(
        ValueError, match=r"expected logits, got 90 values that all lie in 0\.\.1: scores; set output: s"
    ):
        said(source, images(30))
    logits = replace(source, path=foreign(tmp_path / "b.onnx", output="logits"))
    assert said(logits, images(30)).logits.shape == (30, 3)


def test_what_is_no_graph_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"no graph")
    with pytest.raises(ValueError, match=r"teacher .*a\.onnx: expected a graph for ONNX Runtime, got: "):
        OnnxTeacher(path=tmp_path / "a.onnx", image_px=32).load(LABELS)


@pytest.mark.parametrize(
    ("name", "value"),
    [("image_px", 8), ("std", (0.0, 1.0, 1.0)), ("mean", (float("nan"),) * 3), ("padding_value", 256)],
)
def test_ranges_are_checked(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=r"(image_px|std|padding_value): expected"):
        replace(OnnxTeacher(path=Path("a.onnx"), image_px=32), **{name: value})
