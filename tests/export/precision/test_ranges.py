"""Ranges against what the tensors really hold, computed once more by hand."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from export.precision.ranges import METHODS, Method, calibrate
from tests.helpers.convolutions import write_convolutions


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_convolutions(tmp_path_factory.mktemp("ranges") / "fp32.onnx", "Relu")


@pytest.fixture(scope="module")
def found(graph: Path, calibration: NDArray[np.uint8]) -> dict[Method, dict[str, tuple[float, float]]]:
    return {method: calibrate(graph, calibration, method) for method in METHODS}


@pytest.fixture(scope="module")
def values(graph: Path, calibration: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    """What the inputs of all convolutions hold."""
    model = onnx.load(graph)
    names = sorted({node.input[0] for node in model.graph.node if node.op_type == "Conv"})
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip(names, session.run(names, {"images": calibration}), strict=True))


def test_min_max_is_the_smallest_and_largest(
    found: dict[Method, dict[str, tuple[float, float]]], values: dict[str, NDArray[np.float32]]
) -> None:
    assert len(values) == 3
    for name, array in values.items():
        assert found["min_max"][name] == pytest.approx((array.min(), array.max()), rel=1e-4, abs=1e-5), name


def test_percentile_cuts_what_is_rare(
    found: dict[Method, dict[str, tuple[float, float]]], values: dict[str, NDArray[np.float32]]
) -> None:
    for name, array in values.items():
        low, high = found["percentile"][name]
        size, limit, expected = np.abs(array), max(-low, high), 0.0001 * array.size
        bin_width = size.max() / 1024
        assert (size > limit + bin_width).sum() <= expected + 4, name
        assert (size > limit - bin_width).sum() >= expected - 4, name


def test_entropy_lies_within(found: dict[Method, dict[str, tuple[float, float]]]) -> None:
    inside = [
        low >= found["min_max"][name][0] - 1e-4 and high <= found["min_max"][name][1] + 1e-4
        for name, (low, high) in found["entropy"].items()
    ]
    assert all(inside)
    assert found["entropy"] != found["min_max"]


def test_batches_do_not_matter(
    graph: Path, calibration: NDArray[np.uint8], found: dict[Method, dict[str, tuple[float, float]]]
) -> None:
    turned = calibrate(graph, calibration[::-1], "min_max")
    assert turned.keys() == found["min_max"].keys()
    for name, pair in turned.items():
        assert pair == pytest.approx(found["min_max"][name], rel=1e-5, abs=1e-6)


def test_says_nothing(graph: Path, calibration: NDArray[np.uint8], capfd: pytest.CaptureFixture[str]) -> None:
    calibrate(graph, calibration[:16], "percentile")
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("images", [np.zeros((0, 32, 32, 3), np.uint8), np.zeros((4, 32, 32, 3), np.float32)])
def test_nothing_to_calibrate_on(graph: Path, images: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match=r"calibration: expected uint8 \(K, H, W, 3\) with K >= 1, got"):
        calibrate(graph, images, "min_max")
