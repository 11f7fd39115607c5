"""`python -m pipeline doctor`: the bundle of a run or the published one, in text and as JSON."""

import dataclasses
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.doctor import Drift, diagnosis
from export.backends import OnnxRuntime, TensorRt, cuda, stamp
from export.bundle.bundle import Parts, parts_of, write_bundle
from export.bundle.golden import write_golden
from export.precision.int8 import int8_x86
from mlkd.core.labels import Labels
from mlkd.core.metrics import mean_average_precision
from pipeline.__main__ import main
from pipeline.cli import doctor
from tests.helpers import bundles, quantized, selftests
from tests.helpers.convolutions import PX, write_convolutions


@pytest.fixture(autouse=True)
def short_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "WARM_UP_S", 0.05)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("doctoring")
    graph = write_convolutions(work / "fp32.onnx", "Relu")
    images = np.random.default_rng(1).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    quantised = int8_x86(graph, images, work / "int8_x86.onnx")
    plan = bundles.write_plan(work / "sm86.plan", graph)
    backend = OnnxRuntime()
    sources, engines = {f"engines/{file.name}": file for file in plan}, []
    for name, file in (("fp32", graph), ("int8_x86", quantised)):
        files = {f"models/{one.name}": one for one in backend.files(backend.compile(file, work))}
        sources |= files
        engines.append(bundles.engine(f"onnxruntime-{name}", backend, tuple(files), file, precision=name))
    inner = tuple(f"engines/{file.name}" for file in plan)
    engines.append(bundles.engine("tensorrt-int8", TensorRt(), inner, plan[0], precision="int8"))
    with backend.open_exact(quantised) as exact:  # of the others no score is looked at
        scores = dict.fromkeys((*(engine.name for engine in engines), "onnxruntime-foreign"), exact)
        golden, expected = write_golden(
            selftests.drawings(work / "drawn"),
            PX,
            work / "golden",
            scores,
            labels=bundles.LABELS,
            thresholds=dict.fromkeys(scores, (0.5, 0.5, 0.5)),
        )
    sources |= {f"golden/{file.name}": file for file in (*golden, expected)}
    facts = {"golden": tuple(f"golden/{file.name}" for file in golden), "image_px": PX}
    write_bundle(Parts(manifest=bundles.manifest(*engines, **facts), sources=sources), work / "bundle")
    return work / "bundle"


@pytest.fixture
def published(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bundle is in dist/scenes of the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("dist").mkdir()
    Path("dist/scenes").symlink_to(bundle)


@pytest.mark.parametrize("place", ["runs/scenes/bundle/bundle", "dist/scenes"])
def test_examines_the_bundle(
    bundle: Path, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cuda, "unavailable_reason", lambda: "cuda: no GPU")
    Path(place).parent.mkdir(parents=True)
    Path(place).symlink_to(bundle)
    assert main(["doctor", "scenes", "--json", "found.json"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("onnxruntime-int8_x86 (onnxruntime ")
    assert "\n  verdict: " in told
    assert "\n  change:  " in told
    assert "tensorrt-int8: not examined here: " in told
    assert re.search(r"^onnxruntime-int8_x86: .*scores differ from exact .* \(4 images, \w+\)$", told, re.MULTILINE)
    written = json.loads(Path("found.json").read_text())
    [diagnosis] = written["diagnoses"]
    assert (diagnosis["int8"], diagnosis["plain"]) == ("onnxruntime-int8_x86", "onnxruntime-fp32")
    assert {finding["cause"] for finding in diagnosis["findings"]}
    assert list(written["not_examined"]) == ["tensorrt-int8"]
    assert list(written["drift"]) == ["onnxruntime-int8_x86"]
    assert written["drift"]["onnxruntime-int8_x86"]["exact_map"] is None


@pytest.mark.usefixtures("published")
def test_scores_are_compared_on_select_where_the_run_has_it(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(3)
    pixels = random.integers(0, 256, (40, PX, PX, 3), dtype=np.uint8)
    targets = (random.random((40, 3)) < 0.4).astype(np.uint8)
    split = SimpleNamespace(labels=Labels(bundles.LABELS), pixels=lambda _: pixels, targets=targets, label_mask=None)
    monkeypatch.setattr(doctor, "read_split", lambda *_: split)
    Path("runs/scenes/data").mkdir(parents=True)
    Path("runs/scenes/data/select.json").touch()
    assert main(["doctor", "--json", "found.json"]) == 0
    drift = json.loads(Path("found.json").read_text())["drift"]["onnxruntime-int8_x86"]
    with OnnxRuntime().open_exact(bundle / "models/int8_x86.onnx") as exact:
        assert drift["exact_map"] == pytest.approx(mean_average_precision(exact(pixels), targets))
    assert f"instead of {100 * drift['exact_map']:.2f} on select (40 images, " in capsys.readouterr().out
    split.labels = Labels(("one", "other", "set"))  # a run of other labels
    assert main(["doctor", "--json", "found.json"]) == 0
    assert json.loads(Path("found.json").read_text())["drift"]["onnxruntime-int8_x86"]["images"] == 4


def test_an_engine_that_saturates_is_named_with_those_to_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    drifts = {name: drift_of(bad) for name, bad in (("a", True), ("b", False))}
    monkeypatch.setattr(doctor, "measure_drift", lambda engine, *_: drifts["ab"[engine.name.endswith("7bit")]])
    Path("dist").mkdir()
    Path("dist/scenes").symlink_to(quantized.write_saturating(tmp_path))
    assert main(["doctor"]) == 0
    named, other = capsys.readouterr().out.splitlines()[-2:]
    assert named == f"{quantized.SATURATING}: {drifts['a']}; use {quantized.SEVEN_BITS}"
    assert other == f"{quantized.SEVEN_BITS}: {drifts['b']}"


def drift_of(saturates: bool) -> Drift:
    return Drift(images=4, largest=0.3, mean=0.1, saturates=saturates, instruction_set="avx2")


def test_an_engine_that_will_not_open_holds_no_other_up(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One with another runtime's stamp, first in the bundle."""
    parts = parts_of(bundle)
    inner = ("models/foreign.onnx", "models/foreign.onnx.stamp.json")
    file = Path(shutil.copy(bundle / "models/int8_x86.onnx", tmp_path / "foreign.onnx"))
    foreign = dataclasses.replace(stamp.read(bundle / "models/int8_x86.onnx"), runtime="abacus 1.0")
    sources = parts.sources | dict(zip(inner, (file, stamp.write(file, foreign)), strict=True))
    entry = bundles.engine("onnxruntime-foreign", OnnxRuntime(), inner, file, precision="int8_x86")
    manifest = dataclasses.replace(parts.manifest, engines=(entry, *parts.manifest.engines))
    monkeypatch.chdir(tmp_path)
    write_bundle(Parts(manifest=manifest, sources=sources), Path("dist/scenes"))
    assert main(["doctor", "--json", "found.json"]) == 0
    written = json.loads(Path("found.json").read_text())
    assert [diagnosis["int8"] for diagnosis in written["diagnoses"]] == ["onnxruntime-int8_x86"]
    assert "expected an engine of onnxruntime, got one of abacus" in written["not_examined"]["onnxruntime-foreign"]
    assert "onnxruntime-foreign: not examined here: " in capsys.readouterr().out


@pytest.mark.usefixtures("published")
def test_nowhere_to_write_is_said_before_anything_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json", "gone/found.json"]) == 2
    told = capsys.readouterr()
    assert "--json gone/found.json: expected a file in an existing folder, got gone; make it" in told.err
    assert told.out == ""


def test_without_a_bundle_or_without_int8(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["doctor"]) == 2
    assert "expected its bundle at runs/scenes/bundle/bundle or dist/scenes, got none" in capsys.readouterr().err
    Path("dist").mkdir()
    Path("dist/scenes").symlink_to(folder)
    assert main(["doctor"]) == 2
    assert "expected int8 engines, got " in capsys.readouterr().err
