"""Bundles measured by their own program: one real measurement, and the rest on a device that answers at once."""

import dataclasses
import itertools
import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.accuracy import ReferenceScores, Truth
from benchmarks.config import Bench
from benchmarks.device.output import ScoreResult
from benchmarks.measured_models import Bundle, MeasuredEngine, MeasuredModel, ScoredEngines
from benchmarks.output_check import read_process
from benchmarks.parsing import parse, to_json
from benchmarks.remote import DeviceEntry, Local, NoRoomError, UnfitError
from benchmarks.requests import Timed
from benchmarks.run import Job, run_bench
from benchmarks.schema import DeviceResult, Row, ScoreSource
from export.backends import OnnxRuntime
from export.bundle.bundle import Parts, read_bundle, write_bundle
from mlkd.core.intervals import difference_interval
from tests.helpers import bundles
from tests.helpers.printed import FakeDevice, fails, process, throughput

SMALL = Bench(processes=2, queries=12, images=4, warm_up_s=0.1, throughput=True, sustained_s=0.2)
FLOAT = ReferenceScores(np.tile(np.float32([0.9, 0.6, 0.3, 0.1]), (3, 1)).T, np.full(3, 0.5, np.float32))  # any
ONE_PROCESS = Bench(processes=1, queries=12, images=4, warm_up_s=0.1)


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    files = bundles.write_images(tmp_path_factory.mktemp("truth"))
    targets = np.array([[component > 0 for component in bundles.COLOURS[name]] for name in files], dtype=np.uint8)
    return Truth(files=list(files.values()), targets=targets, groups=np.arange(4), major=targets)


@pytest.fixture(scope="module")
def real(colours: Path, truth: Truth, tmp_path_factory: pytest.TempPathFactory) -> tuple[DeviceResult, Path]:
    """One real measurement through the deployed file; of its two engines for ONNX Runtime one is broken."""
    work = tmp_path_factory.mktemp("run")
    manifest = read_bundle(colours)
    (work / "bad.onnx").write_bytes(b"not a graph")
    bad = bundles.engine("onnxruntime-broken", OnnxRuntime(threads=1), ("models/bad.onnx",), work / "bad.onnx")
    sources = {path: colours / path for path in manifest.files if path != "tagger.pyz"}
    with np.load(colours / manifest.golden_expected) as golden:
        own = {f"{what}:onnxruntime-broken": golden[f"{what}:onnxruntime-fp32"] for what in ("scores", "thresholds")}
        np.savez_compressed(work / "expected.npz", **(dict(golden) | own))
    sources |= {manifest.golden_expected: work / "expected.npz", "models/bad.onnx": work / "bad.onnx"}
    manifest = dataclasses.replace(manifest, engines=(*manifest.engines, bad), files={})
    write_bundle(Parts(manifest=manifest, sources=sources), work / "bundle")
    reference = ReferenceScores(np.full((4, 3), 0.5, np.float32), np.full(3, 0.75, np.float32))
    with closing(Local(DeviceEntry(name="here", runtimes=("onnxruntime",)))) as device:
        job = Job(device, truth, bundles.LABELS, ONE_PROCESS, work / "out", seed=3)
        return run_bench(job, [Bundle(work / "bundle", "student", reference=reference)]), work


def test_a_row_is_measured_by_the_deployed_program(real: tuple[DeviceResult, Path]) -> None:
    row, broken = real[0].rows
    assert (row.name, row.status, row.device, row.kind) == ("onnxruntime-fp32", "measured", "here", "engine")
    assert row.map == row.map_major == row.cf1 == row.of1 == 1.0
    assert row.map_minor is None
    assert row.ap == [1.0, 1.0, 1.0]
    assert 0 < row.engine_ms.p50 < row.end_to_end_ms.p50 <= row.end_to_end_ms.p90 <= row.end_to_end_ms.max
    assert row.first_ms > 0
    assert (row.compute, row.placed, row.built_here, row.queries) == ("f32", 1.0, False, 12)
    assert row.runtime.lower().startswith("onnx")
    assert 20 < row.peak_rss_mb < 2000
    assert len(row.pinned) == 1
    device = real[0].device
    assert row.map_from == ScoreSource(device="here", instruction_set=device.machine["instruction_set"])
    assert device.machine["cpu"]
    assert (device.name, device.status, device.threads, device.power_mode) == ("here", "measured", 1, None)
    assert (broken.status, broken.end_to_end_ms, broken.map) == ("built, not run", None, None)
    assert "graph" in broken.reason.lower()
    assert broken.bytes == len(b"not a graph")
    assert parse(DeviceResult, json.loads(json.dumps(to_json(real[0]), allow_nan=False))) == real[0]


def test_a_row_is_compared_with_its_own_model_in_float(real: tuple[DeviceResult, Path]) -> None:
    """The model says 0.5 of everything and so yes to nothing: its AP is the share of each label, 2, 2 and 1 in 4."""
    row = real[0].rows[0]
    assert row.delta_map == pytest.approx(1 - np.mean([2 / 4, 2 / 4, 1 / 4]))
    assert row.delta_low <= row.delta_map <= row.delta_high
    assert row.flipped == 5 / 12


def test_raw_samples_and_scores_are_stored(real: tuple[DeviceResult, Path]) -> None:
    result, work = real
    (stored,) = (work / "out/samples").iterdir()
    assert stored.name == "onnxruntime-fp32.0.json"
    samples = json.loads(stored.read_text())["samples"]["end_to_end_ms"]
    assert result.rows[0].end_to_end_ms.p90 == pytest.approx(np.percentile(samples, 90))
    assert np.load(work / "out/scores/onnxruntime-fp32.npy").shape == (4, 3)


def test_a_search_whose_setting_is_not_measured_again_gives_no_throughput() -> None:
    timed = Timed()
    timed.add("throughput", read_process(process(throughput=throughput(9.0))))
    assert timed.complete(Row(name="a", device="here", kind="engine")).throughput is None
    assert timed.is_useful("throughput.0")
    assert not Timed().is_useful("throughput.0")  # the search failed: there is no setting


Measure = Callable[..., dict[str, Row]]


@pytest.fixture
def device(truth: Truth, tmp_path: Path) -> FakeDevice:
    return FakeDevice(truth.targets.astype(np.float32), tmp_path / "device")


@pytest.fixture
def measure(colours: Path, truth: Truth, device: FakeDevice, tmp_path: Path) -> Measure:
    """Rows of the bundle, and of others, on the fake device."""

    def run(*others: Bundle, bench: Bench = SMALL, **more: Any) -> dict[str, Row]:
        job = Job(device, truth, bundles.LABELS, bench, tmp_path / "out", **more)
        return {row.name: row for row in run_bench(job, [Bundle(colours, "student", reference=FLOAT), *others]).rows}

    return run


def test_references_are_named_after_their_model_and_not_sustained(
    measure: Measure, device: FakeDevice, colours: Path, tmp_path: Path
) -> None:
    """The throughput of a row is not the rate at which the search found the setting, but that of fresh processes."""
    rows = measure(Bundle(colours, "teacher", "reference"))
    engines = ["tensorrt-fp16-sm86", "onnxruntime-fp32", "openvino-fp32"]
    assert list(rows) == engines + [f"teacher-{name}" for name in engines]
    reference = rows["teacher-openvino-fp32"]
    assert (reference.kind, reference.model, reference.map, reference.delta_map) == ("reference", "teacher", 1.0, None)
    assert reference.sustained is reference.throughput is None
    assert reference.spread == pytest.approx(0.35 / 2.345)  # of the halves of its one process
    engine = rows["openvino-fp32"]
    assert (engine.throughput.images_per_second, engine.sustained.seconds) == (80.0, 0.2)
    again = [words[words.index("--throughput-at") + 1 :] for words in device.commands if "--throughput-at" in words]
    assert again == [("8", "2")] * 4  # the setting of the search, twice for each engine
    stored = {file.name.split(".", 1)[1] for file in (tmp_path / "out/samples").glob("openvino-fp32.*")}
    assert stored == {f"{name}.json" for name in ("0", "1", "sustained", "throughput", "throughput.0", "throughput.1")}
    absent = rows["tensorrt-fp16-sm86"]
    assert (absent.status, absent.reason) == ("built, not run", "no NVIDIA GPU")


def test_other_students_are_measured_like_the_one_in_the_bundle(measure: Measure, colours: Path, truth: Truth) -> None:
    """Their rows begin with their model, and are compared with the float scores of the bundle's student."""
    own = ReferenceScores(truth.targets.astype(np.float32), np.full(3, 0.5, np.float32))
    rows = measure(Bundle(colours, "fastest", reference=own), Bundle(colours, "teacher", "reference"))
    student, fastest, teacher = (rows[f"{model}openvino-fp32"] for model in ("", "fastest-", "teacher-"))
    assert (fastest.kind, fastest.model, fastest.delta_low) == ("engine", "fastest", 0.0)
    assert fastest.throughput
    change = difference_interval(truth.targets, FLOAT.scores, truth.targets, truth.groups)
    assert change.low < change.high
    for found in ((row.vs_student_low, row.vs_student_high) for row in (fastest, teacher)):
        assert found == pytest.approx((change.low, change.high)) == (student.delta_low, student.delta_high)
    assert student.vs_student_low is None


def test_what_was_timed_before_a_kill_is_not_timed_again(measure: Measure, device: FakeDevice, tmp_path: Path) -> None:
    def benches() -> int:
        device.commands.clear()
        measure()
        return [command[0] for command in device.commands].count("bench")

    assert benches() == 2 * 6
    (tmp_path / "out/samples/openvino-fp32.1.json").unlink()
    assert benches() == 1


def test_an_engine_that_takes_the_process_down_costs_only_its_own_row(measure: Measure, device: FakeDevice) -> None:
    """Beside the bundle a program of which one engine dies in `scores` and another prints no numbers of its time."""

    def program(*words: str, timeout_s: float | None = None) -> Any:
        names = [name for word, name in itertools.pairwise(words) if word == "--engine"]
        if words[0] == "bench":
            return process(samples="many") if names == ["lies"] else process()
        if "dies" in names:
            return fails("exit code -11: nothing on its standard error")()
        for name in names:
            np.save(device.folder / names[0] / f"{name}.npy", device.scores)
        return {name: {"ran": None, "sha256": process()["sha256"], "error": None} for name in names}

    names = ("dies", "lies", "lives")
    for name in names:
        (device.folder / name).mkdir(parents=True)
    engines = [MeasuredEngine(name, Row(name=name, device="here", kind="reference"), (0.5,) * 3) for name in names]
    rows = measure(extra=[MeasuredModel(program, tuple(engines))])
    assert {name: rows[name].status for name in ("openvino-fp32", *names)} == {
        "openvino-fp32": "measured", "dies": "failed", "lies": "failed", "lives": "measured",
    }  # fmt: skip
    assert "exit code -11" in rows["dies"].reason
    assert "samples: expected an object, got 'many'" in rows["lies"].reason


def test_a_search_that_fails_costs_no_latency(
    measure: Measure, device: FakeDevice, caplog: pytest.LogCaptureFixture
) -> None:
    dies = fails("exit code -9: nothing on its standard error")
    device.overrides["bench"] = lambda words, answer: dies() if "--throughput" in words else answer()
    row = measure()["openvino-fp32"]
    assert (row.status, row.throughput) == ("measured", None)
    assert "throughput: expected an answer, got exit code -9" in caplog.text


def test_a_device_that_runs_no_reference_measures_what_is_deployed(
    measure: Measure, device: FakeDevice, colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such is a board with TensorRT alone: the references are for CPUs."""
    place = device.place

    def choosy(bundle: Path) -> Any:
        if bundle != colours:
            raise UnfitError("here: openvino: expected it, got none")
        return place(bundle)

    monkeypatch.setattr(device, "place", choosy)
    teacher = tmp_path / "teacher"
    teacher.symlink_to(colours)
    rows = measure(Bundle(teacher, "teacher", "reference"), Bundle(teacher, "fastest"))
    reason = "here: openvino: expected it, got none"
    assert rows["openvino-fp32"].status == "measured"
    for other in (rows["teacher-openvino-fp32"], rows["fastest-openvino-fp32"]):
        assert (other.status, other.reason) == ("built, not run", reason)
    with pytest.raises(UnfitError, match="openvino"):
        measure(Bundle(teacher, "student"))


def test_a_device_without_room_takes_its_accuracy_from_the_host_and_says_so(
    measure: Measure, device: FakeDevice, colours: Path, truth: Truth, tmp_path: Path
) -> None:
    device.room = 1
    one_image = dataclasses.replace(SMALL, images=1)
    with pytest.raises(NoRoomError, match="room for the test set"):
        measure(bench=one_image)
    (tmp_path / "host").mkdir()
    np.save(tmp_path / "host/openvino-fp32.npy", truth.targets.astype(np.float32))
    hashes = {"openvino-fp32": read_bundle(colours).files["engines/fp32.xml"].sha256, "onnxruntime-fp32": "0" * 64}
    results = {name: ScoreResult(sha256=sha256) for name, sha256 in hashes.items()}
    desk = ScoreSource(device="desk", instruction_set="avx2")
    rows = measure(bench=one_image, host=ScoredEngines(desk, tmp_path / "host", results))
    assert (rows["openvino-fp32"].map, rows["openvino-fp32"].map_from) == (1.0, desk)
    assert rows["onnxruntime-fp32"].status == "failed"
    assert "expected those of the file that was timed" in rows["onnxruntime-fp32"].reason
