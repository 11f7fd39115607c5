"""From the float graph to engines: what int8 keeps, gates that close."""

import dataclasses
import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from export.backends import Backend, OnnxRuntime, OpenVino, TensorRt, cuda, stamp
from export.onnx.graph import read_metadata
from export.onnx.parity import Gates, ParityLimits
from export.precision.budget import Budget
from export.precision.select_evaluator import score
from mlkd.core import thresholds
from mlkd.core.files import sha256_of
from mlkd.core.metrics import average_precision, mean_average_precision
from mlkd.core.progress import silent
from mlkd.core.thresholds import Thresholds
from mlkd.data.prepared import Split, read_split
from pipeline.recipe.schema import Engine, Export, Recipe, load_recipe
from pipeline.runner.result import read_json
from pipeline.runner.stage import Context
from pipeline.stages import engines as building
from pipeline.stages import precisions

FP32 = Engine(name="fp32", precision="fp32", backend=OnnxRuntime())
X86 = Engine(name="x86", precision="int8_x86", backend=OnnxRuntime())
AIM = Thresholds(aim="precision", precision=0.6, prior=3)
ANYTHING = Gates(fp32=ParityLimits(), bf16=ParityLimits(), fp16=ParityLimits(), int8=ParityLimits())


@pytest.fixture(scope="module")
def recipe(work: Path) -> Recipe:
    return load_recipe(str(work / "tiny.yaml"))


@pytest.fixture(scope="module")
def runs(work: Path) -> Path:
    return work / "runs/tiny"


@pytest.fixture(scope="module")
def made(runs: Path) -> Path:
    """The folder of a stage that made graphs for every engine of the recipe."""
    return runs / "precisions"


def frozen(recipe: Recipe, budget: Budget, *engines: Engine, gates: Gates = ANYTHING) -> Recipe:
    export = Export(engines=engines, calibration_images=16, budget=budget, parity=gates, thresholds=AIM)
    return dataclasses.replace(recipe, export=export)


def context(runs: Path, out: Path, **inputs: Path) -> Context:
    out.mkdir(parents=True)
    return Context(out, {"data": runs / "data", **inputs}, silent)


def test_a_graph_for_every_precision_that_the_engines_need(made: Path) -> None:
    found, told = precisions.graphs(made)
    assert {name: file.name for name, file in found.items()} == {
        "fp32": "fp32.onnx",
        "fp16": "fp16.onnx",
        "int8_x86": "int8_x86.onnx",
        "int8_openvino": "int8_openvino.xml",
    }
    assert [entry["precision"] for entry in told["precisions"]] == ["int8_x86", "int8_openvino"]
    for entry in told["precisions"]:
        assert entry["verdict"].endswith(("within the budget", "small enough"))
        assert entry["kept"] == pytest.approx(entry["quality"]["select_map"] / told["float_map"])
        assert entry["moved"].keys() == entry["tried"].keys(), "how near to float each came"
    assert stamp.origin(found["int8_openvino"]) in {sha256_of(found["fp32"]), sha256_of(found["int8_x86"])}
    int8 = onnx.load(found["int8_x86"])
    assert read_metadata(int8)["precision"] == "int8_x86"
    convolutions = [
        {node.name for node in model.graph.node if node.op_type == "Conv"} for model in (int8, onnx.load(found["fp32"]))
    ]
    assert convolutions[0] == convolutions[1] != set()


def test_float_engines_alone_need_no_calibration(recipe: Recipe, runs: Path, tmp_path: Path) -> None:
    out, graph = tmp_path / "precisions", runs / "onnx"
    precisions.run(frozen(recipe, Budget(), FP32), context(runs, out, onnx=graph))
    assert precisions.graphs(out) == ({"fp32": out / "models/fp32.onnx"}, {"precisions": []})
    assert (out / "models/fp32.onnx").read_bytes() == (graph / "fp32.onnx").read_bytes()
    assert not (out / "calibration.json").exists()


def test_calibrates_on_training_images_and_says_which(made: Path, runs: Path) -> None:
    chosen = read_json(made / "calibration.json")
    train = read_split(runs / "data", "train")
    assert chosen["covers"] == {"images": 16, "labels": 3}
    assert chosen["sha256"].items() <= dict(zip(train.names, train.hashes, strict=True)).items()
    held_out = {digest for split in ("select", "tune", "test") for digest in read_split(runs / "data", split).hashes}
    assert not held_out & set(chosen["sha256"].values())


def test_nothing_over_the_budget_ships_unless_the_recipe_says_so(caplog: pytest.LogCaptureFixture) -> None:
    told = [
        {"precision": "int8", "kept": 0.953, "quality": {"fits": False}},
        {"precision": "int8_x86", "kept": 0.999, "quality": {"fits": True}},
    ]
    with pytest.raises(ValueError, match=r"int8 to keep 99.00% on select, got: int8 keeps 95.30%.*allow: true"):
        precisions.check_budget(told, Budget())
    with caplog.at_level(logging.WARNING):
        precisions.check_budget(told, Budget(allow=True))
    assert "int8 keeps 95.30%" in caplog.text
    precisions.check_budget(told[1:], Budget())


def built(recipe: Recipe, runs: Path, made: Path, out: Path) -> list[dict[str, Any]]:
    building.run(recipe, context(runs, out, precisions=made))
    entries: list[dict[str, Any]] = read_json(out / "engines.json")["engines"]
    return entries


def test_every_engine_is_held_to_the_float_engine_on_all_of_val(
    recipe: Recipe, runs: Path, made: Path, tmp_path: Path
) -> None:
    recipe = frozen(recipe, Budget(), FP32, X86)
    entries = {entry["name"]: entry for entry in built(recipe, runs, made, tmp_path / "out")}
    halves = [read_split(runs / "data", name) for name in ("select", "tune")]
    pixels, targets = np.concatenate([half.pixels(32) for half in halves]), np.concatenate([h.targets for h in halves])
    scores = {}
    for name, entry in entries.items():
        scores[name] = score(tmp_path / "out" / entry["files"][0], pixels)
    for name, entry in entries.items():
        parity = entry["parity"]
        assert parity["max_difference"] == pytest.approx(np.abs(scores[name] - scores["fp32"]).max(), abs=1e-6)
        gained = mean_average_precision(scores[name], targets) - mean_average_precision(scores["fp32"], targets)
        assert parity["delta_map"] == pytest.approx(gained, abs=1e-9)
        decided = [one >= np.array(entries["fp32"]["thresholds"]) for one in (scores[name], scores["fp32"])]
        assert parity["flipped"] == pytest.approx((decided[0] != decided[1]).mean(), abs=1e-9)
    assert entries["x86"]["parity"]["max_difference"] > 0
    select = slice(0, len(halves[0]))
    with OnnxRuntime().open(tmp_path / "out" / entries["x86"]["files"][0]) as session:
        kernels = session(pixels[select])
    drift = entries["x86"]["drift"]
    assert drift["largest"] == pytest.approx(np.abs(kernels - scores["x86"][select]).max(), abs=1e-6)
    for key, found in (("exact_map", scores["x86"][select]), ("kernels_map", kernels)):
        assert drift[key] == pytest.approx(mean_average_precision(found, targets[select]), abs=1e-9)
    assert entries["fp32"]["drift"] is None
    for name, entry in entries.items():
        assert_tuned(entry, scores[name][len(halves[0]) :], halves[1], recipe.export.thresholds)
        assert (entry["thresholds_from"], entry["thresholds_of"]) == (name, entry["files"][0])
    cost = building.cost(tmp_path / "out")
    assert [entry["engine"] for entry in cost["parity"]] == ["fp32", "x86"]
    assert cost["parity"][1]["drift"] == drift


def assert_tuned(entry: dict[str, Any], scores: np.ndarray, tune: Split, aim: Thresholds) -> None:
    """The entry says what the engine's own scores (N, L) of tune give with the recipe's aim."""
    np.testing.assert_allclose(entry["thresholds"], thresholds.tune(scores, tune.targets, aim), atol=1e-6)
    told = entry["expected_precision"], entry["expected_recall"], entry["tune_ap"]
    own = (*thresholds.expected(scores, tune.targets, aim, groups=tune.groups), average_precision(scores, tune.targets))
    np.testing.assert_allclose(np.array(told, dtype=np.float64), own, atol=1e-6)
    assert entry["tune_map"] == pytest.approx(mean_average_precision(scores, tune.targets))


def test_an_engine_behind_its_gate_is_not_built(recipe: Recipe, runs: Path, made: Path, tmp_path: Path) -> None:
    gates = dataclasses.replace(ANYTHING, int8=ParityLimits(max_difference=1e-9))
    built(frozen(recipe, Budget(allow=True), FP32, X86, gates=gates), runs, made, tmp_path / "allowed")
    with pytest.raises(ValueError, match=r"parity of x86: max_difference: expected at most 1e-09"):
        built(frozen(recipe, Budget(), FP32, X86, gates=gates), runs, made, tmp_path / "refused")


def test_what_only_the_device_can_build_ships_as_its_graph(
    recipe: Recipe, runs: Path, made: Path, tmp_path: Path
) -> None:
    jetson = Engine(name="jetson", precision="fp32", backend=TensorRt(compute_capability="device"))
    if jetson.backend.unavailable_reason() is None:
        pytest.skip("here is a GPU to build for")
    (entry,) = built(frozen(recipe, Budget(allow=True), jetson), runs, made, tmp_path / "out")
    assert entry["files"] == [entry["graph"]] == ["models/fp32.onnx"]
    assert "expected" in entry["not_run"]
    assert entry["thresholds_from"] == "onnxruntime, cpu, models/fp32.onnx"
    assert entry["thresholds_of"] == "models/fp32.onnx"


@pytest.mark.parametrize(
    ("backend", "precision", "told"),
    [
        (OnnxRuntime(), "fp32", "any processor"),
        (OnnxRuntime(), "int8_x86", "any processor"),
        (OnnxRuntime(), "int8", "ARM and x86 with VNNI"),
        (OnnxRuntime(device="cuda"), "int8", "NVIDIA GPUs"),
        (OpenVino(), "int8_openvino", "any processor"),
        (OpenVino(device="NPU"), "fp32", "OpenVINO's device NPU"),
        (TensorRt(), "fp32", "NVIDIA GPUs, SM86"),
        (TensorRt(compute_capability="device"), "int8", "the NVIDIA GPU that it is built on"),
    ],
)
def test_an_engine_is_meant_for_what_its_backend_runs_on(backend: Backend, precision: Any, told: str) -> None:
    assert building.meant_for(Engine(name="one", precision=precision, backend=backend)) == told


def test_the_xml_of_an_engine_that_cannot_run_here_is_what_scores(
    recipe: Recipe, runs: Path, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A graph in OpenVINO's own format has no ONNX with the same scores."""
    on_gpu = Engine(name="gpu", precision="int8_openvino", backend=OpenVino(device="GPU"))
    real = OpenVino.unavailable_reason
    monkeypatch.setattr(
        OpenVino, "unavailable_reason", lambda self: "no such GPU" if self.device == "GPU" else real(self)
    )
    (entry,) = built(frozen(recipe, Budget(keep=0.3), on_gpu), runs, made, tmp_path / "out")
    assert entry["not_run"] == "no such GPU"
    assert entry["thresholds_of"] == entry["files"][0] == "engines/int8_openvino.xml"
    assert entry["thresholds_from"] == "openvino, cpu, engines/int8_openvino.xml"
    tune = read_split(runs / "data", "tune")
    assert_tuned(entry, score(tmp_path / "out" / entry["files"][0], np.array(tune.pixels(32))), tune, AIM)
    assert (entry["judged_in"], entry["meant_for"], entry["drift"]) == (
        "exact arithmetic",
        "OpenVINO's device GPU",
        None,
    )


def test_what_cannot_run_here_ships_with_its_stamp(
    recipe: Recipe, runs: Path, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda, "unavailable_reason", lambda: "cuda: expected an NVIDIA driver, got none")
    on_gpu = Engine(name="cuda", precision="fp32", backend=OnnxRuntime(device="cuda"))
    (entry,) = built(frozen(recipe, Budget(allow=True), on_gpu), runs, made, tmp_path / "out")
    assert entry["files"] == ["models/fp32.onnx", "models/fp32.onnx.stamp.json"]
    assert entry["not_run"] == "cuda: expected an NVIDIA driver, got none"
