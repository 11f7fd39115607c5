"""A net that int8 hurts comes back within its budget, or the verdict says that it does not."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from export import stamp
from export.backends import OnnxRuntime, OpenVino
from export.precision import int8, int8_x86
from export.precision.budget import Budget, FloatLayer, Restored
from export.precision.fit import RUNTIME, Judge, Tried, _worth, fit_openvino, fit_qdq
from export.precision.qdq import quantise
from export.precision.ranges import METHODS, Ranges, calibrate
from export.to_onnx import to_onnx
from mlkd.labels import Labels
from mlkd.metrics import mean_average_precision
from mlkd.models import Tagger

RUINED = "backbone.conv1.4/Conv_0"  # reads a tensor of which one channel is 300 times the others
AFTER = "backbone.bn1/Conv_0"  # in float, it takes the ruined one with it where outputs are rounded
Judged = tuple[dict[str, Ranges], dict[str, Path]]  # ranges and graphs by calibrator

FAMILIES = {"int8": int8.FAMILY, "int8_x86": int8_x86.FAMILY}


@pytest.fixture(scope="module")
def ruined(tagger: Tagger, tmp_path_factory: pytest.TempPathFactory) -> Path:
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
def judge(pictures: NDArray[np.uint8], targets: NDArray[np.uint8], expected: NDArray[np.float32]) -> Judge:
    return Judge(pictures, targets, None, mean_average_precision(expected, targets))


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
    fitted = fit_qdq(ruined, ranges, FAMILIES[name], judge, Budget(pictures=64), out)
    assert max(fitted.tried.values()) < 0.99 * judge.float_map, "nothing would have to be done"
    assert fitted.tried.keys() == set(METHODS)
    assert fitted.fits
    assert fitted.kept == fitted.select_map / judge.float_map >= 0.99
    assert {RUINED, AFTER} & {entry.layer for entry in fitted.float_layers}
    assert fitted.float_layers[0].gain > 0.002
    assert len(fitted.float_layers) <= 3
    for entry in fitted.float_layers:
        if entry.gain is not None:  # one that is float because of another still reads what is rounded
            assert "DequantizeLinear" not in reads(out, entry.layer)
    assert judge.map_of(OnnxRuntime(), out) == fitted.select_map, "what is judged is what is written"


def test_fewer_layers_in_float_count_before_nearness_and_that_before_map() -> None:
    def worth(layers: int, score: float, moved: float) -> tuple[bool, int, float, float]:
        back = tuple(FloatLayer(str(number), 0.1) for number in range(layers))
        return _worth(Restored(back, score), Tried(0.1, moved), 0.5)

    clipped, near, one_layer = worth(2, 0.9, 0.03), worth(2, 0.5, 0.01), worth(1, 0.5, 0.09)
    assert worth(0, 0.4, 0.0) < worth(2, 0.45, 0.9) < clipped < near < one_layer


def test_without_layers_in_float_it_is_over_the_budget(
    ruined: Path, ranges: dict[str, Ranges], judge: Judge, tmp_path: Path
) -> None:
    fitted = fit_qdq(ruined, ranges, int8.FAMILY, judge, Budget(float_layers=0), tmp_path / "int8.onnx")
    assert not fitted.fits
    assert fitted.kept < 0.99
    assert fitted.float_layers == ()


def test_a_sound_net_keeps_every_layer(
    fp32: Path, calibration: NDArray[np.uint8], judge: Judge, tmp_path: Path
) -> None:
    found = {"min_max": calibrate(fp32, calibration, "min_max")}
    fitted = fit_qdq(fp32, found, int8.FAMILY, judge, Budget(), tmp_path / "int8.onnx")
    assert fitted.fits
    assert fitted.float_layers == ()
    assert fitted.tried == {"min_max": fitted.select_map}


@pytest.fixture(scope="module")
def clipped(fp32: Path, calibration: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> Judged:
    """A sound net by min-max, by half of these ranges, and the opinion that what the latter gives is right."""
    whole = calibrate(fp32, calibration, "min_max")
    found = {"half": {name: (low / 2, high / 2) for name, (low, high) in whole.items()}, "min_max": whole}
    folder = tmp_path_factory.mktemp("clipped")
    return found, {name: quantise(fp32, found[name], folder / f"{name}.onnx", int8.FAMILY) for name in found}


@pytest.fixture(scope="module")
def deceived(fp32: Path, clipped: Judged, pictures: NDArray[np.uint8], judge: Judge) -> Judge:
    scores, rows = judge.scores_of(RUNTIME, clipped[1]["half"], np.arange(len(pictures))), np.arange(len(pictures))
    told = dataclasses.replace(judge, targets=(scores >= np.quantile(scores, 0.7, axis=0)).astype(np.uint8))
    right = judge.scores_of(RUNTIME, fp32, rows)
    return dataclasses.replace(told, float_map=told.map_of_scores(right, rows), float_scores=right)


def test_more_map_than_in_float_is_no_merit(fp32: Path, clipped: Judged, deceived: Judge, tmp_path: Path) -> None:
    out = tmp_path / "int8.onnx"
    fitted = fit_qdq(fp32, clipped[0], int8.FAMILY, deceived, Budget(keep=0.3), out)
    assert fitted.tried["half"] == 1 > fitted.tried["min_max"] >= 0.3 * deceived.float_map, "a choice there has to be"
    assert fitted.calibrator == "min_max"
    assert fitted.select_map == fitted.tried["min_max"]
    with OnnxRuntime().open_graph(out) as session:
        found = session(deceived.pixels)
    assert fitted.moved["min_max"] == pytest.approx(np.abs(found - deceived.float_scores).mean(), rel=1e-3)
    assert fitted.moved["half"] > 2 * fitted.moved["min_max"]


def test_openvino_takes_the_nearest(
    fp32: Path, clipped: Judged, calibration: NDArray[np.uint8], deceived: Judge, tmp_path: Path
) -> None:
    fitted = fit_openvino(
        fp32, list(clipped[1].values()), calibration, deceived, Budget(keep=0.3), tmp_path / "int8.xml"
    )
    assert max(fitted.tried, key=lambda name: fitted.tried[name]) == "half.onnx"
    assert fitted.calibrator == min(fitted.moved, key=lambda name: fitted.moved[name]) != "half.onnx"


@pytest.mark.parametrize("change", ["trained", "budget"])
def test_most_map_where_the_float_scores_are_no_aim_or_none_keeps_enough(
    fp32: Path, clipped: Judged, deceived: Judge, tmp_path: Path, change: str
) -> None:
    keep = 0.3
    if change == "trained":
        deceived = dataclasses.replace(deceived, float_scores=None)
    else:
        deceived = dataclasses.replace(deceived, float_map=2.0)  # more than there is
        keep = 1.0
    fitted = fit_qdq(fp32, clipped[0], int8.FAMILY, deceived, Budget(keep=keep, float_layers=0), tmp_path / "int8.onnx")
    assert fitted.calibrator == "half"
    assert fitted.moved.keys() == (set() if change == "trained" else {"half", "min_max"})


def test_openvino_takes_what_keeps_the_budget(
    ruined: Path, fp32: Path, calibration: NDArray[np.uint8], judge: Judge, tmp_path: Path
) -> None:
    """NNCF on the ruined net against a Q/DQ graph of the sound one."""
    sound = int8.int8(fp32, calibration, tmp_path / "sound.onnx")
    fitted = fit_openvino(ruined, [sound], calibration, judge, Budget(), tmp_path / "int8.xml")
    assert fitted.calibrator == "sound.onnx"
    assert fitted.tried.keys() == {"nncf", "min_max", "histogram", "sound.onnx"}
    assert stamp.origin(tmp_path / "int8.xml") == stamp.hash_of(sound)
    assert judge.map_of(OpenVino(), tmp_path / "int8.xml") == fitted.select_map


def test_openvino_over_its_budget_is_given_back_layers(
    ruined: Path, calibration: NDArray[np.uint8], judge: Judge, tmp_path: Path
) -> None:
    fitted = fit_openvino(ruined, [], calibration, judge, Budget(pictures=64), tmp_path / "int8.xml")
    assert max(fitted.tried.values()) < 0.99 * judge.float_map, "nothing would have to be done"
    assert fitted.fits
    assert 1 <= len(fitted.float_layers) <= 5
    assert fitted.float_layers[0].layer.startswith(RUINED)
    assert fitted.float_layers[0].gain > 0.01
    assert stamp.origin(tmp_path / "int8.xml") == stamp.hash_of(ruined)
