"""From the float graph to engines: what int8 keeps, training where it keeps too little, gates that close."""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from export.backends import OnnxRuntime, OpenVino, TensorRt, cuda, stamp
from export.onnx import graph
from export.onnx.parity import Gates, ParityLimits
from export.precision.budget import Budget
from export.precision.select_evaluator import Judge, score
from mlkd.core import thresholds
from mlkd.core.metrics import average_precision, mean_average_precision
from mlkd.core.thresholds import Thresholds
from mlkd.data.prepared import Split, read_split
from mlkd.losses import LabelKL, ReviewKD
from pipeline import stages
from pipeline.int8_graphs import SUMMARY
from pipeline.recipe.schema import Engine, Export, Recipe, load_recipe
from pipeline.runner.result import read_json
from pipeline.runner.stage import Context
from pipeline.stages import engines as building
from pipeline.stages import precisions
from tests.helpers import drawings

FP32 = Engine(name="fp32", precision="fp32", backend=OnnxRuntime())
SIGNED = Engine(name="signed", precision="int8", backend=OnnxRuntime())
X86 = Engine(name="x86", precision="int8_x86", backend=OnnxRuntime())
NNCF = Engine(name="nncf", precision="int8_openvino", backend=OpenVino())
AIM = Thresholds(aim="precision", precision=0.6, prior=3)
ANYTHING = Gates(fp32=ParityLimits(), bf16=ParityLimits(), fp16=ParityLimits(), int8=ParityLimits())


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    folder = tmp_path_factory.mktemp("drawn")
    drawings.draw(folder)
    return load_recipe(str(drawings.write_recipe(folder, folder)))


@pytest.fixture(scope="module")
def runs(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the line has come to the float graph."""
    folder = tmp_path_factory.mktemp("runs")
    stages.line(recipe, folder).until("onnx").run()
    return folder


def frozen(recipe: Recipe, budget: Budget, *engines: Engine, gates: Gates = ANYTHING) -> Recipe:
    export = Export(engines=engines, calibration_pictures=16, budget=budget, parity=gates, thresholds=AIM)
    return dataclasses.replace(recipe, export=export)


def context(runs: Path, out: Path, **inputs: Path) -> Context:
    out.mkdir(parents=True)
    names = ("data", "teacher_outputs", "student", "onnx")
    return Context(out, {**{name: runs / name for name in names}, **inputs}, lambda *_: None)


def both(recipe: Recipe, runs: Path, out: Path) -> dict[str, Path]:
    """Run both stages; their folders."""
    made = {"precisions": out / "precisions", "quantisation_aware": out / "quantisation_aware"}
    precisions.precisions(recipe, context(runs, made["precisions"]))
    precisions.quantisation_aware(recipe, "0", context(runs, made["quantisation_aware"], **made))
    return made


@pytest.fixture(scope="module")
def trained(recipe: Recipe, runs: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, dict[str, Path]]:
    """No graph is within the budget, so that there is a training."""
    asked = frozen(recipe, Budget(float_layers=0, epochs=1, allow=True), FP32, SIGNED, X86)
    with pytest.MonkeyPatch.context() as patch:
        real = Judge.quality
        patch.setattr(Judge, "quality", lambda *given: dataclasses.replace(real(*given), fits=False))
        return asked, both(asked, runs, tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="module")
def untrained(recipe: Recipe, runs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return both(frozen(recipe, Budget(keep=0.3), FP32, X86, NNCF), runs, tmp_path_factory.mktemp("untrained"))


def test_within_the_budget_nothing_is_trained(untrained: dict[str, Path]) -> None:
    assert list(untrained["quantisation_aware"].iterdir()) == []
    found, told = precisions.graphs(untrained)
    assert {name: file.name for name, file in found.items()} == {
        "fp32": "fp32.onnx", "int8_x86": "int8_x86.onnx", "int8_openvino": "int8_openvino.xml",
    }  # fmt: skip
    assert [entry["precision"] for entry in told["precisions"]] == ["int8_x86", "int8_openvino"]
    for entry in told["precisions"]:
        assert entry["verdict"] == "within the budget"
        assert entry["kept"] == pytest.approx(entry["quality"]["select_map"] / told["float_map"])
    assert not told["trained"]
    for entry in told["precisions"]:
        assert entry["moved"].keys() == entry["tried"].keys(), "how near to float each came"
    assert stamp.origin(found["int8_openvino"]) in {stamp.hash_of(found["fp32"]), stamp.hash_of(found["int8_x86"])}


def test_calibrates_on_training_pictures_and_says_which(trained: tuple[Recipe, dict[str, Path]], runs: Path) -> None:
    chosen = read_json(trained[1]["precisions"] / "calibration.json")
    train = read_split(runs / "data", "train")
    assert chosen["covers"] == {"pictures": 16, "labels": 3}
    assert chosen["sha256"].items() <= dict(zip(train.names, train.hashes, strict=True)).items()
    held_out = {digest for split in ("select", "tune", "test") for digest in read_split(runs / "data", split).hashes}
    assert not held_out & set(chosen["sha256"].values())


def test_over_the_budget_the_student_is_trained_with_rounding(trained: tuple[Recipe, dict[str, Path]]) -> None:
    folder = trained[1]["quantisation_aware"]
    history = json.loads((folder / "history.json").read_text())
    assert {"bce", "label_kl", "class_aware", "instance_aware"} == history[0]["losses"].keys(), "the student's losses"
    facts = {entry["precision"]: entry for entry in read_json(folder / "precisions.json")["precisions"]}
    assert facts.keys() == {"int8", "int8_x86"}
    assert all(entry["tried"].keys() == {"learned"} for entry in facts.values())
    assert all(entry["moved"].keys() == {"learned"} for entry in facts.values()), "from their own float graph"
    int8, fp32 = onnx.load(folder / "models/int8.onnx"), onnx.load(folder / "models/fp32.onnx")
    assert graph.read_metadata(int8)["precision"] == "int8"
    convolutions = [{node.name for node in model.graph.node if node.op_type == "Conv"} for model in (int8, fp32)]
    assert convolutions[0] == convolutions[1] != set()


def test_the_learned_ranges_are_the_graphs(trained: tuple[Recipe, dict[str, Path]]) -> None:
    from mlkd.quantisation_aware import learned_ranges

    folder = trained[1]["quantisation_aware"]
    model = onnx.load(folder / "models" / "int8.onnx")
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    scales = {
        node.input[0]: float(stored[node.input[1]]) for node in model.graph.node if node.op_type == "QuantizeLinear"
    }
    ranges = learned_ranges(folder)
    assert len(ranges) > 10
    assert scales.keys() <= ranges.keys()
    for name, scale in scales.items():
        assert scale == pytest.approx(ranges[name][1] / 127, rel=0.01), name


def stage(folder: Path, **kept: tuple[float, bool]) -> Path:
    """A stage's folder with graphs that are only names, and what each is said to keep and whether that fits."""
    (folder / "models").mkdir(parents=True)
    for name in ("fp32", *kept):
        (folder / f"models/{name}.onnx").write_text(f"{name} of {folder}")
    told = [{"precision": name, "kept": share, "quality": {"fits": fits}} for name, (share, fits) in kept.items()]
    (folder / SUMMARY).write_text(json.dumps({"precisions": told}))
    return folder


@pytest.mark.parametrize(
    ("before", "after", "trained"),
    [
        ({"int8": (0.95, False), "int8_x86": (0.99, True)}, {"int8": (0.99, True), "int8_x86": (0.99, True)}, True),
        ({"int8": (0.95, False), "int8_x86": (0.99, True)}, {"int8": (0.99, True), "int8_x86": (0.94, False)}, False),
        ({"int8": (0.95, False), "int8_x86": (0.94, False)}, {"int8": (0.96, False), "int8_x86": (0.95, False)}, True),
    ],
)
def test_all_graphs_are_of_the_same_weights(
    tmp_path: Path, before: dict[str, tuple[float, bool]], after: dict[str, tuple[float, bool]], trained: bool
) -> None:
    """No engine gains from a training that the others lack."""
    inputs = {"precisions": stage(tmp_path / "before", **before)}
    inputs["quantisation_aware"] = stage(tmp_path / "after", **after)
    found, told = precisions.graphs(inputs)
    ships, other = (after, before) if trained else (before, after)
    folder = tmp_path / ("after" if trained else "before")
    assert found == {name: folder / f"models/{name}.onnx" for name in ("fp32", *ships)}, "the float graph as well"
    assert told["trained"] is trained
    assert [entry["kept"] for entry in told["precisions"]] == [share for share, _ in ships.values()]
    assert [entry["kept_by_other_weights"] for entry in told["precisions"]] == [share for share, _ in other.values()]


def test_the_gate_holds_trained_weights_to_the_student(trained: tuple[Recipe, dict[str, Path]], runs: Path) -> None:
    before, after = (read_json(folder / SUMMARY) for folder in trained[1].values())
    assert before["float_map"] == after["float_map"]
    folder = trained[1]["quantisation_aware"]
    assert (folder / "models/fp32.onnx").read_bytes() == (folder / "fp32.onnx").read_bytes()
    assert (folder / "fp32.onnx").read_bytes() != (runs / "onnx" / "fp32.onnx").read_bytes()
    pixels = read_split(runs / "data", "select").pixels(32)
    moved = np.abs(score(folder / "models/int8.onnx", pixels) - score(folder / "models/fp32.onnx", pixels)).mean()
    assert after["precisions"][0]["quality"]["drift"] == pytest.approx(moved, rel=1e-4)


def test_losses_count_in_full_at_once_but_for_adapters_that_begin_anew(recipe: Recipe) -> None:
    losses = (LabelKL(ramp_epochs=4), ReviewKD(ramp_epochs=0))
    tuned = precisions._fine_tuning(dataclasses.replace(recipe.student.training, losses=losses), Budget(epochs=3))
    assert tuned.losses == (LabelKL(ramp_epochs=0), ReviewKD(ramp_epochs=1))
    (loss,) = precisions._fine_tuning(dataclasses.replace(tuned, losses=(ReviewKD(),)), Budget(epochs=3)).losses
    assert loss.ramp_epochs == 3 < ReviewKD().ramp_epochs


def test_unsigned_ranges_end_where_activations_do() -> None:
    narrowed = precisions._narrowed({"a": (0.0, 5.0), "b": (-1.0, 2.0)}, {"a": (-4.0, 4.0), "b": (-3.0, 3.0)})
    assert narrowed == {"a": (0.0, 4.0), "b": (-1.0, 2.0)}


def test_nothing_over_the_budget_ships_unless_the_recipe_says_so(caplog: pytest.LogCaptureFixture) -> None:
    told = [
        {"precision": "int8", "kept": 0.953, "quality": {"fits": False}},
        {"precision": "int8_x86", "kept": 0.999, "quality": {"fits": True}},
    ]
    with pytest.raises(ValueError, match=r"int8 to keep 99.00% on select, got: int8 keeps 95.30%.*allow: true"):
        precisions.over_budget(told, Budget())
    with caplog.at_level(logging.WARNING):
        precisions.over_budget(told, Budget(allow=True))
    assert "int8 keeps 95.30%" in caplog.text
    precisions.over_budget(told[1:], Budget())


def built(recipe: Recipe, runs: Path, made: dict[str, Path], out: Path) -> list[dict[str, Any]]:
    building.engines(recipe, context(runs, out, **made))
    entries: list[dict[str, Any]] = read_json(out / "engines.json")["engines"]
    return entries


def test_every_engine_is_held_to_the_float_engine_on_all_of_val(
    trained: tuple[Recipe, dict[str, Path]], runs: Path, tmp_path: Path
) -> None:
    recipe, made = trained
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
    assert entries["signed"]["parity"]["max_difference"] > 0
    select = slice(0, len(halves[0]))
    for name in ("signed", "x86"):
        with OnnxRuntime().open(tmp_path / "out" / entries[name]["files"][0]) as session:
            kernels = session(pixels[select])
        drift = entries[name]["drift"]
        assert drift["largest"] == pytest.approx(np.abs(kernels - scores[name][select]).max(), abs=1e-6)
        for key, found in (("exact_map", scores[name][select]), ("kernels_map", kernels)):
            assert drift[key] == pytest.approx(mean_average_precision(found, targets[select]), abs=1e-9)
    assert entries["fp32"]["drift"] is None
    for name, entry in entries.items():
        assert_tuned(entry, scores[name][len(halves[0]) :], halves[1], recipe.export.thresholds)
        assert (entry["thresholds_from"], entry["thresholds_of"]) == (name, entry["files"][0])
    cost = building.cost(tmp_path / "out")
    assert [entry["engine"] for entry in cost["parity"]] == ["fp32", "signed", "x86"]
    assert cost["parity"][1]["drift"] == entries["signed"]["drift"]


def assert_tuned(entry: dict[str, Any], scores: np.ndarray, tune: Split, aim: Thresholds) -> None:
    """The entry says what the engine's own scores (N, L) of tune give with the recipe's aim."""
    np.testing.assert_allclose(entry["thresholds"], thresholds.tune(scores, tune.targets, aim), atol=1e-6)
    told = entry["expected_precision"], entry["expected_recall"], entry["tune_ap"]
    own = (*thresholds.expected(scores, tune.targets, aim, groups=tune.groups), average_precision(scores, tune.targets))
    np.testing.assert_allclose(np.array(told, dtype=np.float64), own, atol=1e-6)
    assert entry["tune_map"] == pytest.approx(mean_average_precision(scores, tune.targets))


def test_an_engine_behind_its_gate_is_not_built(
    trained: tuple[Recipe, dict[str, Path]], runs: Path, tmp_path: Path
) -> None:
    gates = dataclasses.replace(ANYTHING, int8=ParityLimits(max_difference=1e-9))
    strict = dataclasses.replace(trained[0], export=dataclasses.replace(trained[0].export, parity=gates))
    built(strict, runs, trained[1], tmp_path / "allowed")
    refused = dataclasses.replace(strict.export.budget, allow=False, keep=0)
    export = dataclasses.replace(strict.export, budget=refused)
    made = {name: tmp_path / name for name in trained[1]}
    for name, folder in trained[1].items():
        (made[name] / "models").mkdir(parents=True)
        for file in (folder / "models").glob("*.onnx"):
            (made[name] / "models" / file.name).write_bytes(file.read_bytes())
    with pytest.raises(ValueError, match=r"parity of signed: max_difference: expected at most 1e-09"):
        built(dataclasses.replace(strict, export=export), runs, made, tmp_path / "refused")


def test_what_only_the_device_can_build_ships_as_its_graph(
    recipe: Recipe, runs: Path, trained: tuple[Recipe, dict[str, Path]], tmp_path: Path
) -> None:
    jetson = Engine(name="jetson", precision="fp32", backend=TensorRt(compute_capability="device"))
    if jetson.backend.missing() is None:
        pytest.skip("here is a GPU to build for")
    (entry,) = built(frozen(recipe, Budget(allow=True), jetson), runs, trained[1], tmp_path / "out")
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
    recipe: Recipe, runs: Path, untrained: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A graph in OpenVINO's own format has no ONNX with the same scores."""
    on_gpu = Engine(name="gpu", precision="int8_openvino", backend=OpenVino(device="GPU"))
    real = OpenVino.missing
    monkeypatch.setattr(OpenVino, "missing", lambda self: "no such GPU" if self.device == "GPU" else real(self))
    (entry,) = built(frozen(recipe, Budget(keep=0.3), on_gpu), runs, untrained, tmp_path / "out")
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
    recipe: Recipe, runs: Path, trained: tuple[Recipe, dict[str, Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda, "missing", lambda: "cuda: expected an NVIDIA driver, got none")
    on_gpu = Engine(name="cuda", precision="fp32", backend=OnnxRuntime(device="cuda"))
    (entry,) = built(frozen(recipe, Budget(allow=True), on_gpu), runs, trained[1], tmp_path / "out")
    assert entry["files"] == ["models/fp32.onnx", "models/fp32.onnx.stamp.json"]
    assert entry["not_run"] == "cuda: expected an NVIDIA driver, got none"
