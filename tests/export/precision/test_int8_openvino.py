"""NNCF's graph: int8 in the middle, float at both ends, silent."""

from pathlib import Path

import numpy as np
import openvino
import pytest
from numpy.typing import NDArray

from export.backends import OpenVino
from export.precision.int8_openvino import int8_openvino
from mlkd.core.metrics import mean_average_precision


@pytest.fixture(scope="module")
def quantized(fp32: Path, calibration: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return int8_openvino(fp32, calibration, tmp_path_factory.mktemp("nncf") / "int8_openvino.xml")


@pytest.fixture(scope="module")
def scores(quantized: Path, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    with OpenVino().open_graph(quantized) as session:
        assert session.runtime_info.compute == "int8"
        return session(images)


def test_scores_stay_float(scores: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    assert len(np.unique(scores)) > 0.95 * len(np.unique(expected))


def test_keeps_the_map(scores: NDArray[np.float32], expected: NDArray[np.float32], targets: NDArray[np.uint8]) -> None:
    assert mean_average_precision(scores, targets) > 0.99 * mean_average_precision(expected, targets)
    assert not np.array_equal(scores, expected)


def test_ends_are_not_quantized(quantized: Path) -> None:
    nodes = openvino.Core().read_model(quantized).get_ordered_ops()
    read = {node: {value.get_node().get_type_name() for value in node.input_values()} for node in nodes}
    assert any("FakeQuantize" in kinds for node, kinds in read.items() if node.get_type_name() == "Convolution")
    ends = [node for node in nodes if node.get_friendly_name() in ("tagger/Sub_0", "tagger/Div_0", "head/MatMul_2")]
    ends += [node for node in nodes if node.get_type_name() in ("Sigmoid", "Softmax")]
    assert len(ends) >= 4
    for node in ends:
        assert "FakeQuantize" not in read[node], node.get_friendly_name()


def test_the_head_stays_float(quantized: Path) -> None:
    products = [
        node
        for node in openvino.Core().read_model(quantized).get_ordered_ops()
        if node.get_type_name() == "MatMul" and node.get_friendly_name().startswith("head")
    ]
    assert len(products) >= 6
    for node in products:
        kinds = {value.get_node().get_type_name() for value in node.input_values()}
        assert "FakeQuantize" not in kinds, node.get_friendly_name()


def test_says_its_precision_and_nothing_of_the_machine(quantized: Path) -> None:
    text = quantized.read_text()
    assert '<precision value="int8_openvino" />' in text
    assert "/tmp" not in text
    assert "<nncf>" not in text


def test_is_silent(
    fp32: Path, calibration: NDArray[np.uint8], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    int8_openvino(fp32, calibration[:4], tmp_path / "again.xml")
    assert capfd.readouterr().out == ""


def test_nothing_to_calibrate_on(fp32: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="calibration: expected uint8"):
        int8_openvino(fp32, np.zeros((0, 32, 32, 3), np.uint8), tmp_path / "no.xml")
