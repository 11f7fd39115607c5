"""A net that int8 hurts comes back within its budget, or the verdict says that it does not."""

import dataclasses
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from export.backends import stamp
from export.precision.budget import Budget, FloatLayer, Quality
from export.precision.int8 import FAMILIES, INT8
from export.precision.qdq import quantize
from export.precision.ranges import METHODS, Ranges, calibrate
from export.precision.search import CalibrationResult, PrecisionResult, fit_openvino, fit_qdq, take_qdq
from export.precision.select_evaluator import SelectEvaluator, score
from mlkd.core.files import sha256_of
from tests.helpers.convolutions import write_convolutions

RUINED = "backbone.blocks.1/Conv_0"  # reads a tensor of which one channel is 300 times the others
WRITER = "backbone.blocks.0/Conv_0"  # writes it: in float too where outputs are quantized
BUDGET = Budget(float_layers=0.7, images=64)  # two of three layers


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_convolutions(tmp_path_factory.mktemp("sound") / "fp32.onnx", "Relu")


@pytest.fixture(scope="module")
def ruined(sound: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same scores in float: one channel is multiplied by 300, and the next layer divides it by 300."""
    model = onnx.load(sound)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor).copy()
        if tensor.name in ("weight0", "bias0"):
            values[0] *= 300
        elif tensor.name == "weight1":
            values[:, 0] /= 300
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    file = tmp_path_factory.mktemp("ruined") / "fp32.onnx"
    onnx.save(model, file)
    return file


@pytest.fixture(scope="module")
def evaluator(sound: Path, images: NDArray[np.uint8]) -> SelectEvaluator:
    """Of targets that the float graph gets right."""
    images = images[:128]
    scores = score(sound, images)
    targets = (scores > np.median(scores, axis=0)).astype(np.uint8)
    return SelectEvaluator(images, targets, np.arange(len(images)), scores)


@pytest.fixture(scope="module")
def ranges(ruined: Path, calibration: NDArray[np.uint8]) -> dict[str, Callable[[], Ranges]]:
    return {method: cache(partial(calibrate, ruined, calibration, method)) for method in METHODS}


@pytest.fixture(scope="module")
def sound_ranges(sound: Path, calibration: NDArray[np.uint8]) -> Ranges:
    return calibrate(sound, calibration, "min_max")


def reads(file: Path, name: str) -> set[str]:
    """The kinds of nodes that the node `name` reads."""
    model = onnx.load(file)
    made = {value: node.op_type for node in model.graph.node for value in node.output}
    node = next(node for node in model.graph.node if node.name == name)
    return {made.get(value, "stored") for value in node.input}


@pytest.fixture(scope="module")
def fits(
    ruined: Path,
    ranges: dict[str, Callable[[], Ranges]],
    evaluator: SelectEvaluator,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, tuple[PrecisionResult, Path]]:
    """The result and the graph of each family."""
    folder = tmp_path_factory.mktemp("fits")
    files = {name: folder / f"{name}.onnx" for name in FAMILIES}
    return {
        name: (fit_qdq(ruined, ranges, FAMILIES[name], evaluator, BUDGET, file), file) for name, file in files.items()
    }


@pytest.mark.parametrize("name", FAMILIES)
def test_the_layer_that_hurts_goes_back_to_float(
    fits: dict[str, tuple[PrecisionResult, Path]], evaluator: SelectEvaluator, name: str
) -> None:
    result, out = fits[name]
    best = max(calibration.select_map for calibration in result.calibrations.values())
    assert best < BUDGET.keep * evaluator.float_map, "nothing would have to be done"
    assert result.calibrations.keys() == set(METHODS)
    assert result.quality.within_budget
    chosen, *forced = result.float_layers
    assert chosen.layer == RUINED
    assert chosen.gain > 0.002
    assert "DequantizeLinear" not in reads(out, RUINED)
    assert forced == ([FloatLayer(WRITER, None)] if name == "int8_x86" else [])
    scores = score(out, evaluator.pixels)
    assert evaluator.map_of(scores) == result.quality.select_map, "what is judged is what is written"
    assert result.map_ratio == result.quality.select_map / evaluator.float_map
    assert result.quality.mean_score_drift == pytest.approx(np.abs(scores - evaluator.float_scores).mean(), rel=1e-3)


@pytest.mark.parametrize(
    ("is_significant", "within_budget", "verdict"),
    [
        (True, True, "within the budget"),
        (True, False, "over the budget"),
        (False, True, "too few images to decide by mAP; score drift is small enough"),
        (False, False, "too few images to decide by mAP; score drift is over the budget"),
    ],
)
def test_the_verdict_says_by_what_it_was_decided(is_significant: bool, within_budget: bool, verdict: str) -> None:
    quality = Quality(0.5, -0.1, 0.1, 0.01, 0.99, is_significant=is_significant, within_budget=within_budget)
    assert PrecisionResult("int8", "min_max", {}, 1.0, quality).verdict == verdict


def test_without_layers_in_float_it_is_over_the_budget(
    ruined: Path, ranges: dict[str, Callable[[], Ranges]], evaluator: SelectEvaluator, tmp_path: Path
) -> None:
    result = fit_qdq(ruined, ranges, INT8, evaluator, Budget(float_layers=0), tmp_path / "int8.onnx")
    assert not result.quality.within_budget
    assert "over the budget" in result.verdict
    assert result.float_layers == ()


def test_a_sound_net_keeps_every_layer(
    sound: Path, sound_ranges: Ranges, evaluator: SelectEvaluator, tmp_path: Path
) -> None:
    result = fit_qdq(
        sound,
        {"min_max": lambda: sound_ranges, "entropy": pytest.fail},
        INT8,
        evaluator,
        BUDGET,
        tmp_path / "int8.onnx",
    )
    assert result.quality.within_budget
    assert result.float_layers == ()
    assert result.calibrations["min_max"].select_map == result.quality.select_map


def test_the_nearest_ranges_are_taken_whatever_their_map(
    sound: Path, sound_ranges: Ranges, evaluator: SelectEvaluator, tmp_path: Path
) -> None:
    """Targets that a graph with half of the ranges gets right: its mAP is luck."""
    found = {"half": {name: (low / 2, high / 2) for name, (low, high) in sound_ranges.items()}, "min_max": sound_ranges}
    clipped = score(quantize(sound, found["half"], tmp_path / "half.onnx", INT8), evaluator.pixels)
    lucky = (clipped >= np.quantile(clipped, 0.7, axis=0)).astype(np.uint8)
    deceived = dataclasses.replace(evaluator, targets=lucky)
    tried = {name: partial(found.__getitem__, name) for name in found}
    result = fit_qdq(sound, tried, INT8, deceived, Budget(keep=0.999), tmp_path / "int8.onnx")
    half, nearest = result.calibrations["half"], result.calibrations["min_max"]
    assert half.select_map == 1 > nearest.select_map
    assert result.calibrator == "min_max"
    assert half.mean_score_drift > 2 * nearest.mean_score_drift


def test_openvino_takes_the_first_of_nncfs_that_fits_and_keeps_seven_bits(
    sound: Path, calibration: NDArray[np.uint8], evaluator: SelectEvaluator, tmp_path: Path
) -> None:
    result = fit_openvino(sound, calibration, evaluator, Budget(), tmp_path / "int8.xml")
    assert result.quality.within_budget
    assert list(result.calibrations) == [result.calibrator] == ["histogram"], "the first is good enough"
    assert evaluator.map_of(score(tmp_path / "int8.xml", evaluator.pixels)) == result.quality.select_map
    nodes = openvino.Core().read_model(tmp_path / "int8.xml").get_ordered_ops()
    constants = [node for node in nodes if node.get_type_name() == "Constant"]
    weights = [node.data for node in constants if node.get_element_type() == openvino.Type.i8]
    assert len(weights) == 3
    assert max(np.abs(values.astype(int)).max() for values in weights) <= 64, "two products fit into 16 bits"


def test_openvino_over_its_budget_has_the_qdq_graph(
    fits: dict[str, tuple[PrecisionResult, Path]], evaluator: SelectEvaluator, tmp_path: Path
) -> None:
    (qdq, graph), out = fits["int8_x86"], tmp_path / "engine" / "int8.xml"
    far = dataclasses.replace(qdq.quality, within_budget=False)
    calibrations = {"nncf": CalibrationResult(0.1, 0.2)}
    nncf = PrecisionResult("int8_openvino", "nncf", calibrations, 0.2, far)
    result = take_qdq(nncf, qdq, graph, out)
    assert (result.precision, result.quality) == ("int8_openvino", qdq.quality)
    assert result.calibrator == f"{qdq.calibrator} in Q/DQ"
    assert calibrations.items() <= result.calibrations.items()
    assert result.float_layers == qdq.float_layers != ()
    assert stamp.origin(out) == sha256_of(graph)
    assert evaluator.map_of(score(out, evaluator.pixels)) == pytest.approx(result.quality.select_map, abs=0.01)
    assert take_qdq(dataclasses.replace(nncf, quality=qdq.quality), qdq, graph, out).calibrator == "nncf"
