"""The label names of a foreign teacher, by which its columns are found."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mlkd.core.labels import Labels
from mlkd.teachers import OnnxTeacher
from tests.helpers import foreign
from tests.helpers.foreign import LABELS, images, outputs


@pytest.mark.parametrize("name", ["labels.txt", "labels.json"])
def test_label_names_in_a_file(tmp_path: Path, name: str) -> None:
    source = OnnxTeacher(path=foreign.write(tmp_path / "a.onnx"), image_px=32, layout="NCHW", labels=tmp_path / name)
    assert source.files() == (tmp_path / "a.onnx", tmp_path / name)
    for names in (LABELS.names, ("red", "blue", "green")):
        (tmp_path / name).write_text(json.dumps(names) if name.endswith("json") else "\n".join(names) + "\n")
        columns = [names.index(name) for name in LABELS.names]
        got = source.load(LABELS)({32: images()}).logits
        whole = replace(source, labels=None).load(LABELS)({32: images()}).logits  # by its metadata
        np.testing.assert_array_equal(got, whole[:, columns])


@pytest.mark.parametrize("wanted", [("blue", "red", "green"), ("blue", "red"), ("green",)])
def test_label_names_in_the_metadata(tmp_path: Path, wanted: tuple[str, ...]) -> None:
    source = OnnxTeacher(path=foreign.write(tmp_path / "a.onnx"), image_px=32, layout="NCHW")
    got = source.load(Labels(wanted))({32: images()}).logits
    expected = outputs(source, images()).logits[:, [LABELS.names.index(name) for name in wanted]]
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("red", "green", "teal"), r"expected the 3 labels of the data by name, got 3 \(red, green, teal\), without b"),
        (("red", "green", "blue", "red"), "expected each label once, got red more than once"),
    ],
)
def test_missing_and_repeated_labels_are_refused(tmp_path: Path, names: tuple[str, ...], message: str) -> None:
    bias = np.zeros(len(names), np.float32)
    weight = np.zeros((3, len(names)), np.float32)
    source = OnnxTeacher(path=foreign.write(tmp_path / "a.onnx", names=names, bias=bias, weight=weight), image_px=32)
    with pytest.raises(ValueError, match=message):
        replace(source, layout="NCHW").load(LABELS)


def test_without_names_the_columns_are_declared_to_be_in_order_or_refused(tmp_path: Path) -> None:
    source = OnnxTeacher(path=foreign.write(tmp_path / "a.onnx", names=()), image_px=32, layout="NCHW")
    in_order = replace(source, labels_in_order=True)
    for teacher, labels in ((source, LABELS), (source, None), (in_order, None)):
        with pytest.raises(ValueError, match="expected the names of its labels, got none; name a file with `labels`"):
            teacher.load(labels)
    named = replace(source, path=foreign.write(tmp_path / "b.onnx"))
    np.testing.assert_array_equal(outputs(in_order, images()).logits, outputs(named, images()).logits)
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
def test_json_may_map_labels_to_columns_or_columns_to_labels(tmp_path: Path, text: str) -> None:
    (tmp_path / "l.json").write_text(text, encoding="utf-8")
    source = OnnxTeacher(path=foreign.write(tmp_path / "a.onnx", names=()), image_px=32, layout="NCHW")
    got = replace(source, labels=tmp_path / "l.json").load(Labels(("blue", "green", "red")))({32: images()}).logits
    whole = outputs(replace(source, labels_in_order=True), images()).logits
    np.testing.assert_array_equal(got, whole[:, [2, 1, 0]])


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
def test_a_damaged_file_of_label_names_is_refused(tmp_path: Path, name: str, text: bytes) -> None:
    (tmp_path / name).write_bytes(text)
    source = OnnxTeacher(path=foreign.write(tmp_path / "a.onnx"), image_px=32, layout="NCHW", labels=tmp_path / name)
    with pytest.raises(ValueError, match=rf"{name}: expected UTF-8 names, one per line or as a JSON list, got: "):
        source.load(LABELS)
