"""A net that int8 hurts comes back within its budget, or the verdict says that it does not."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from export.backends import stamp
from export.precision import int8, int8_x86
from export.precision.budget import Budget
from export.precision.qdq import quantize
from export.precision.ranges import METHODS, Ranges, calibrate
from export.precision.search import CalibrationResult, PrecisionResult, fit_openvino, fit_qdq, take_qdq
from export.precision.select_evaluator import SelectEvaluator, score
from mlkd.core.files import sha256_of

RUINED = "backbone.conv1.4/Conv_0"  # reads a tensor of which one channel is 300 times the others
AFTER = "backbone.bn1/Conv_0"  # in float, it takes the ruined one with it where outputs are rounded
KEEP = 0.998  # entropy's ranges lose little more than 1 %
FAMILIES = {"int8": int8.FAMILY, "int8_x86": int8_x86.FAMILY}


@pytest.fixture(scope="module")
def ruined(fp32: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same scores in float: one channel is multiplied by 300, and the next layer divides it by 300."""
    model = onnx.load(fp32)
    nodes = {node.name: node for node in model.graph.node}
    before, after = nodes["backbone.conv1.1/Conv_0"], nodes[RUINED]
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor).copy()
        if tensor.name in before.input:  # weight and bias
            values[0] *= 300
        elif tensor.name == after.input[1]:
            values[:, 0] /= 300
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    file = tmp_path_factory.mktemp("ruined") / "fp32.onnx"
    onnx.save(model, file)
    return file


@pytest.fixture(scope="module")
def evaluator(images: NDArray[np.uint8], targets: NDArray[np.uint8], expected: NDArray[np.float32]) -> SelectEvaluator:
    return SelectEvaluator(images, targets, np.arange(len(images)), expected)


@pytest.fixture(scope="module")
def ranges(ruined: Path, calibration: NDArray[np.uint8]) -> dict[str, Ranges]:
    return {method: calibrate(ruined, calibration, method) for method in METHODS}


def reads(file: Path, name: str) -> set[str]:
    """The kinds of nodes that the node `name` reads."""
    model = onnx.load(file)
    made = {value: node.op_type for node in model.graph.node for value in node.output}
    node = next(node for node in model.graph.node if node.name == name)
    return {made.get(value, "stored") for value in node.input}


@pytest.fixture(scope="module")
def fits(
    ruined: Path, ranges: dict[str, Ranges], evaluator: SelectEvaluator, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[PrecisionResult, Path]]:
    """The result and the graph of each family."""
    folder, budget = tmp_path_factory.mktemp("fits"), Budget(keep=KEEP, images=64)
    files = {name: folder / f"{name}.onnx" for name in FAMILIES}
    return {
        name: (fit_qdq(ruined, ranges, FAMILIES[name], evaluator, budget, file), file) for name, file in files.items()
    }


@pytest.mark.parametrize("name", FAMILIES)
def test_the_layer_that_hurts_goes_back_to_float(
    fits: dict[str, tuple[PrecisionResult, Path]], evaluator: SelectEvaluator, name: str
) -> None:
    result, out = fits[name]
    best = max(calibration.select_map for calibration in result.calibrations.values())
    assert best < KEEP * evaluator.float_map, "nothing would have to be done"
    assert result.calibrations.keys() == set(METHODS)
    assert result.quality.within_budget
    assert {RUINED, AFTER} & {entry.layer for entry in result.float_layers}
    assert result.float_layers[0].gain > 0.002
    assert len(result.float_layers) <= 3
    for entry in result.float_layers:
        if entry.gain is not None:  # one that is float because of another still reads what is rounded
            assert "DequantizeLinear" not in reads(out, entry.layer)
    scores = score(out, evaluator.pixels)
    assert evaluator.map_of(scores) == result.quality.select_map, "what is judged is what is written"
    assert result.map_ratio == result.quality.select_map / evaluator.float_map
    assert result.quality.mean_score_drift == pytest.approx(np.abs(scores - evaluator.float_scores).mean(), rel=1e-3)


def test_without_layers_in_float_it_is_over_the_budget(
    ruined: Path, ranges: dict[str, Ranges], evaluator: SelectEvaluator, tmp_path: Path
) -> None:
    result = fit_qdq(ruined, ranges, int8.FAMILY, evaluator, Budget(keep=KEEP, float_layers=0), tmp_path / "int8.onnx")
    assert not result.quality.within_budget
    assert "over the budget" in result.verdict
    assert result.float_layers == ()


def test_a_sound_net_keeps_every_layer(
    fp32: Path, calibration: NDArray[np.uint8], evaluator: SelectEvaluator, tmp_path: Path
) -> None:
    found = {"min_max": calibrate(fp32, calibration, "min_max")}
    result = fit_qdq(fp32, found, int8.FAMILY, evaluator, Budget(), tmp_path / "int8.onnx")
    assert result.quality.within_budget
    assert result.float_layers == ()
    assert result.calibrations["min_max"].select_map == result.quality.select_map


def test_the_nearest_ranges_are_taken_whatever_their_map(
    fp32: Path, calibration: NDArray[np.uint8], evaluator: SelectEvaluator, tmp_path: Path
) -> None:
    """Targets that a graph with half of the ranges gets right: its mAP is luck."""
    whole = calibrate(fp32, calibration, "min_max")
    found = {"half": {name: (low / 2, high / 2) for name, (low, high) in whole.items()}, "min_max": whole}
    clipped = score(quantize(fp32, found["half"], tmp_path / "half.onnx", int8.FAMILY), evaluator.pixels)
    lucky = (clipped >= np.quantile(clipped, 0.7, axis=0)).astype(np.uint8)
    deceived = dataclasses.replace(evaluator, targets=lucky, float_scores=score(fp32, evaluator.pixels))
    result = fit_qdq(fp32, found, int8.FAMILY, deceived, Budget(keep=0.3), tmp_path / "int8.onnx")
    half, min_max = result.calibrations["half"], result.calibrations["min_max"]
    assert half.select_map == 1 > min_max.select_map
    assert result.calibrator == "min_max"
    assert half.mean_score_drift > 2 * min_max.mean_score_drift


def test_openvino_takes_the_nearest_of_nncfs_and_keeps_seven_bits(
    fp32: Path, calibration: NDArray[np.uint8], evaluator: SelectEvaluator, tmp_path: Path
) -> None:
    result = fit_openvino(fp32, calibration, evaluator, Budget(), tmp_path / "int8.xml")
    assert result.quality.within_budget
    assert result.calibrations.keys() == {"nncf", "min_max", "histogram"}
    assert result.calibrator == min(result.calibrations, key=lambda name: result.calibrations[name].mean_score_drift)
    assert evaluator.map_of(score(tmp_path / "int8.xml", evaluator.pixels)) == result.quality.select_map
    nodes = openvino.Core().read_model(tmp_path / "int8.xml").get_ordered_ops()
    constants = [node for node in nodes if node.get_type_name() == "Constant"]
    weights = [node.data for node in constants if node.get_element_type() == openvino.Type.i8]
    assert len(weights) > 3
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
