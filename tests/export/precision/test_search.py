"""A net that int8 hurts comes back within its budget, or the verdict says that it does not."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest
import torch
from numpy.typing import NDArray

from export.backends import stamp
from export.onnx.to_onnx import to_onnx
from export.precision import int8, int8_x86
from export.precision.budget import Budget
from export.precision.qdq import quantise
from export.precision.ranges import METHODS, Ranges, calibrate
from export.precision.search import fit_openvino, fit_qdq, take_qdq
from export.precision.select_evaluator import Judge, score
from mlkd.core.files import sha256_of
from mlkd.core.labels import Labels
from mlkd.models.network import TaggerNet

RUINED = "backbone.conv1.4/Conv_0"  # reads a tensor of which one channel is 300 times the others
AFTER = "backbone.bn1/Conv_0"  # in float, it takes the ruined one with it where outputs are rounded
KEEP = 0.998  # entropy's ranges lose little more than 1 %
FAMILIES = {"int8": int8.FAMILY, "int8_x86": int8_x86.FAMILY}


@pytest.fixture(scope="module")
def ruined(tagger: TaggerNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same scores in float: what one channel is multiplied by, the next layer divides by."""
    damaged = copy.deepcopy(tagger)
    norm, after = damaged.backbone.conv1[1], damaged.backbone.conv1[3]
    with torch.no_grad():
        norm.weight[0] *= 300
        norm.bias[0] *= 300
        after.weight[:, 0] /= 300
    labels = Labels(tuple(f"label {number}" for number in range(len(damaged.head.label_bias))))
    return to_onnx(damaged, labels, damaged.image_px, tmp_path_factory.mktemp("ruined") / "fp32.onnx", recipe_hash="0")


@pytest.fixture(scope="module")
def judge(images: NDArray[np.uint8], targets: NDArray[np.uint8], expected: NDArray[np.float32]) -> Judge:
    return Judge(images, targets, np.arange(len(images)), expected)


@pytest.fixture(scope="module")
def ranges(ruined: Path, calibration: NDArray[np.uint8]) -> dict[str, Ranges]:
    return {method: calibrate(ruined, calibration, method) for method in METHODS}


def reads(file: Path, name: str) -> set[str]:
    """The kinds of nodes that the node `name` reads."""
    model = onnx.load(file)
    made = {value: node.op_type for node in model.graph.node for value in node.output}
    node = next(node for node in model.graph.node if node.name == name)
    return {made.get(value, "stored") for value in node.input}


@pytest.mark.parametrize("name", FAMILIES)
def test_the_layer_that_hurts_goes_back_to_float(
    ruined: Path, ranges: dict[str, Ranges], judge: Judge, tmp_path: Path, name: str
) -> None:
    out = tmp_path / f"{name}.onnx"
    fitted = fit_qdq(ruined, ranges, FAMILIES[name], judge, Budget(keep=KEEP, images=64), out)
    assert max(fitted.tried.values()) < KEEP * judge.float_map, "nothing would have to be done"
    assert fitted.tried.keys() == fitted.moved.keys() == set(METHODS)
    assert fitted.quality.fits
    assert {RUINED, AFTER} & {entry.layer for entry in fitted.float_layers}
    assert fitted.float_layers[0].gain > 0.002
    assert len(fitted.float_layers) <= 3
    for entry in fitted.float_layers:
        if entry.gain is not None:  # one that is float because of another still reads what is rounded
            assert "DequantizeLinear" not in reads(out, entry.layer)
    scores = score(out, judge.pixels)
    assert judge.map_of(scores) == fitted.quality.select_map, "what is judged is what is written"
    assert fitted.kept == fitted.quality.select_map / judge.float_map
    assert fitted.quality.drift == pytest.approx(np.abs(scores - judge.float_scores).mean(), rel=1e-3)


def test_without_layers_in_float_it_is_over_the_budget(
    ruined: Path, ranges: dict[str, Ranges], judge: Judge, tmp_path: Path
) -> None:
    fitted = fit_qdq(ruined, ranges, int8.FAMILY, judge, Budget(keep=KEEP, float_layers=0), tmp_path / "int8.onnx")
    assert not fitted.quality.fits
    assert "over the budget" in fitted.verdict
    assert fitted.float_layers == ()


def test_a_sound_net_keeps_every_layer(
    fp32: Path, calibration: NDArray[np.uint8], judge: Judge, tmp_path: Path
) -> None:
    found = {"min_max": calibrate(fp32, calibration, "min_max")}
    fitted = fit_qdq(fp32, found, int8.FAMILY, judge, Budget(), tmp_path / "int8.onnx")
    assert fitted.quality.fits
    assert fitted.float_layers == ()
    assert fitted.tried == {"min_max": fitted.quality.select_map}


def test_the_nearest_ranges_are_taken_whatever_their_map(
    fp32: Path, calibration: NDArray[np.uint8], judge: Judge, tmp_path: Path
) -> None:
    """Targets that a graph with half of the ranges gets right: its mAP is luck."""
    whole = calibrate(fp32, calibration, "min_max")
    found = {"half": {name: (low / 2, high / 2) for name, (low, high) in whole.items()}, "min_max": whole}
    clipped = score(quantise(fp32, found["half"], tmp_path / "half.onnx", int8.FAMILY), judge.pixels)
    lucky = (clipped >= np.quantile(clipped, 0.7, axis=0)).astype(np.uint8)
    deceived = dataclasses.replace(judge, targets=lucky, float_scores=score(fp32, judge.pixels))
    fitted = fit_qdq(fp32, found, int8.FAMILY, deceived, Budget(keep=0.3), tmp_path / "int8.onnx")
    assert fitted.tried["half"] == 1 > fitted.tried["min_max"]
    assert fitted.calibrator == "min_max"
    assert fitted.moved["half"] > 2 * fitted.moved["min_max"]


def test_openvino_takes_the_nearest_of_nncfs_and_keeps_seven_bits(
    fp32: Path, calibration: NDArray[np.uint8], judge: Judge, tmp_path: Path
) -> None:
    fitted = fit_openvino(fp32, calibration, judge, Budget(), tmp_path / "int8.xml")
    assert fitted.quality.fits
    assert fitted.tried.keys() == {"nncf", "min_max", "histogram"}
    assert fitted.calibrator == min(fitted.moved, key=lambda name: fitted.moved[name])
    assert judge.map_of(score(tmp_path / "int8.xml", judge.pixels)) == fitted.quality.select_map
    nodes = openvino.Core().read_model(tmp_path / "int8.xml").get_ordered_ops()
    constants = [node for node in nodes if node.get_type_name() == "Constant"]
    weights = [node.data for node in constants if node.get_element_type() == openvino.Type.i8]
    assert len(weights) > 3
    assert max(np.abs(values.astype(int)).max() for values in weights) <= 64, "two products fit into 16 bits"


def test_openvino_over_its_budget_has_the_qdq_graph(
    ruined: Path, ranges: dict[str, Ranges], calibration: NDArray[np.uint8], judge: Judge, tmp_path: Path
) -> None:
    budget, graph, out = Budget(keep=KEEP, images=64), tmp_path / "int8_x86.onnx", tmp_path / "engine" / "int8.xml"
    nncf = fit_openvino(ruined, calibration, judge, budget, out)
    assert not nncf.quality.fits, "nothing would have to be done"
    qdq = fit_qdq(ruined, ranges, int8_x86.FAMILY, judge, budget, graph)
    fitted = take_qdq(nncf, qdq, graph, out)
    assert (fitted.precision, fitted.quality.fits) == ("int8_openvino", True)
    assert fitted.calibrator == f"{qdq.calibrator} in Q/DQ"
    assert nncf.tried.items() <= fitted.tried.items()
    assert fitted.float_layers == qdq.float_layers != ()
    assert stamp.origin(out) == sha256_of(graph)
    assert judge.map_of(score(out, judge.pixels)) == pytest.approx(fitted.quality.select_map, abs=0.01)
    assert take_qdq(dataclasses.replace(nncf, quality=qdq.quality), qdq, graph, out).calibrator == nncf.calibrator
