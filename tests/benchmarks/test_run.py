"""Bundles measured by their own program on this machine: rows, order, what fails."""

from __future__ import annotations

import dataclasses
import json
import shutil
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.accuracy import Truth
from benchmarks.config import Bench
from benchmarks.device.tagger_process import ProcessFailedError
from benchmarks.measured_models import Bundle, Candidate, Float, Scored, Subject
from benchmarks.remote import DeviceEntry, Local, NoRoomError, UnfitError
from benchmarks.requests import Timed
from benchmarks.rows import ROW
from benchmarks.run import Job, plan, run_bench
from export.backends import OnnxRuntime
from export.bundle.bundle import Parts, read_bundle, write_bundle
from tests.helpers import bundles

SMALL = Bench(processes=2, queries=12, images=4, warm_up_s=0.1, sustained_s=0.2)
HERE = DeviceEntry(name="here")


def truth_of(folder: Path) -> Truth:
    files = bundles.write_images(folder)
    targets = [[int(component > 0) for component in bundles.COLOURS[name]] for name in files]
    targets_array = np.array(targets, dtype=np.uint8)
    return Truth(files=list(files.values()), targets=targets_array, groups=np.arange(4), major=targets_array)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """One real measurement through the shipped file; the first engine cannot run here and the last is broken."""
    work = tmp_path_factory.mktemp("run")
    whole = read_bundle(bundles.write_colours(work / "colours", work / "work"))
    (work / "bad.onnx").write_bytes(b"not a graph")
    bad = bundles.engine("onnxruntime-broken", OnnxRuntime(threads=1), ("models/bad.onnx",), work / "bad.onnx")
    sources = {path: work / "colours" / path for path in whole.files if path != "tagger.pyz"}
    with np.load(work / "colours" / whole.golden_expected) as golden:
        own = {f"{what}:onnxruntime-broken": golden[f"{what}:onnxruntime-fp32"] for what in ("scores", "thresholds")}
        expected = dict(golden) | own
    np.savez_compressed(work / "expected.npz", **expected)
    sources[whole.golden_expected] = work / "expected.npz"
    manifest = dataclasses.replace(whole, engines=(*whole.engines, bad), files={})
    write_bundle(Parts(manifest=manifest, sources={**sources, "models/bad.onnx": work / "bad.onnx"}), work / "bundle")
    whole_net = Float(np.full((4, 3), 0.5, np.float32), np.full(3, 0.75, np.float32))
    tested = [Bundle(work / "bundle", "student", net=whole_net), Bundle(work / "colours", "teacher", "reference")]
    with closing(Local(HERE)) as device:
        job = Job(device, truth_of(work / "images"), bundles.LABELS, SMALL, work / "out", seed=3)
        return run_bench(job, tested), work


def row(ran: tuple[dict[str, Any], Path], name: str) -> dict[str, Any]:
    return next(row for row in ran[0]["rows"] if row["name"] == name)


@pytest.mark.parametrize("name", ["onnxruntime-fp32", "openvino-fp32"])
def test_a_row_is_measured_by_the_shipped_program(ran: tuple[dict[str, Any], Path], name: str) -> None:
    measured = row(ran, name)
    assert (measured["status"], measured["device"], measured["kind"]) == ("measured", "here", "engine")
    assert measured["map"] == measured["map_major"] == 1.0
    assert measured["map_minor"] is None
    assert measured["cf1"] == measured["of1"] == 1.0
    assert measured["ap"] == [1.0, 1.0, 1.0]
    assert 0 < measured["engine_ms"]["p50"] < measured["end_to_end_ms"]["p50"]
    assert measured["end_to_end_ms"]["p50"] <= measured["end_to_end_ms"]["p90"] <= measured["end_to_end_ms"]["max"]
    assert measured["first_ms"] > 0
    assert (measured["compute"], measured["placed"]) == ("f32", 1.0)
    assert measured["throughput"]["images_per_second"] > 0
    assert measured["sustained"]["seconds"] > 0.1
    assert measured["queries"] == 24
    assert measured["runtime"].split()[0].lower().startswith(name.split("-")[0])
    assert 20 < measured["peak_rss_mb"] < 2000
    assert len(measured["pinned"]) == 1
    assert measured["built_here"] is False
    assert measured["map_from"] == {"device": "here", "instruction_set": ran[0]["device"]["machine"]["instruction_set"]}
    assert tuple(measured) == tuple(row(ran, "tensorrt-fp16-sm86")) == ROW


def test_a_row_is_held_against_its_own_net_in_float(ran: tuple[dict[str, Any], Path]) -> None:
    """The net says 0.5 of everything and so yes to nothing: its AP is the share of each label, 2, 2 and 1 in 4."""
    measured = row(ran, "openvino-fp32")
    assert measured["delta_map"] == pytest.approx(1 - np.mean([2 / 4, 2 / 4, 1 / 4]))
    assert measured["delta_low"] <= measured["delta_map"] <= measured["delta_high"]
    assert measured["flipped"] == 5 / 12
    assert row(ran, "teacher-openvino-fp32")["delta_map"] is None


def test_the_throughput_of_a_row_is_that_of_the_fresh_processes(ran: tuple[dict[str, Any], Path]) -> None:
    """Not the rate at which the search found the setting: that is in `tried`."""
    for name in ("onnxruntime-fp32", "openvino-fp32"):
        searched, *again = (
            json.loads((ran[1] / f"out/samples/{name}.{process}.json").read_text())["throughput"]
            for process in ("throughput", "throughput.0", "throughput.1")
        )
        setting = searched["batch"], searched["streams"]
        assert all((one["batch"], one["streams"]) == setting for one in again)
        rate = np.mean([one["images_per_second"] for one in again])
        assert row(ran, name)["throughput"] == {**searched, "images_per_second": pytest.approx(rate)}


def test_a_search_without_a_second_look_gives_no_throughput() -> None:
    timed = Timed()
    timed.add("throughput", {"throughput": {"images_per_second": 9.0, "batch": 8, "streams": 2, "tried": []}})
    assert timed.asked_alone()["throughput"] is None
    assert timed.can("throughput.0")
    assert not Timed().can("throughput.0")  # the search failed: there is no setting


def test_references_are_named_after_their_model_and_not_sustained(ran: tuple[dict[str, Any], Path]) -> None:
    reference = row(ran, "teacher-openvino-fp32")
    assert (reference["kind"], reference["model"], reference["map"]) == ("reference", "teacher", 1.0)
    assert reference["sustained"] is reference["throughput"] is reference["spread"] is reference["unstable"] is None


def test_raw_samples_and_scores_are_kept(ran: tuple[dict[str, Any], Path]) -> None:
    result, work = ran
    kept = {file.name for file in (work / "out/samples").iterdir()}
    names = ("onnxruntime-fp32", "openvino-fp32")
    engines = {
        f"{engine}.{i}.json"
        for engine in names
        for i in (0, 1, "sustained", "throughput", "throughput.0", "throughput.1")
    }
    assert kept == engines | {f"teacher-{engine}.0.json" for engine in names}
    files = [work / f"out/samples/onnxruntime-fp32.{i}.json" for i in (0, 1)]
    raw = [json.loads(file.read_text())["samples"]["end_to_end_ms"] for file in files]
    assert row(ran, "onnxruntime-fp32")["end_to_end_ms"]["p90"] == pytest.approx(np.percentile(np.ravel(raw), 90))
    assert np.load(work / "out/scores/openvino-fp32.npy").shape == (4, 3)
    assert json.loads(json.dumps(result)) == result


@pytest.mark.parametrize(("name", "reason"), [("tensorrt-fp16-sm86", "nvidia"), ("onnxruntime-broken", "graph")])
def test_an_engine_that_cannot_run_here_says_so_and_the_rest_goes_on(
    ran: tuple[dict[str, Any], Path], name: str, reason: str
) -> None:
    built = row(ran, name)
    assert built["status"] == "built, not run"
    assert reason in built["reason"].lower()
    assert built["end_to_end_ms"] is built["map"] is None
    files = read_bundle(ran[1] / "bundle").engine(name).files
    assert built["bytes"] == sum((ran[1] / "bundle" / file).stat().st_size for file in files)


def test_the_machine_is_told(ran: tuple[dict[str, Any], Path]) -> None:
    device = ran[0]["device"]
    assert device["machine"]["cpu"]
    assert (device["name"], device["status"], device["threads"], device["power_mode"]) == ("here", "measured", 1, None)


def test_runs_are_interleaved_by_the_seed() -> None:
    counts = {"a": 3, "b": 3, "c": 1}
    runs = plan(counts, seed=0)
    assert sorted(runs) == [*((engine, process) for engine in "ab" for process in range(3)), ("c", 0)]
    assert runs == plan(counts, seed=0)
    assert runs != plan(counts, seed=1)
    assert [engine for engine, _ in runs] != sorted(engine for engine, _ in runs)


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    return bundles.write_colours(tmp_path / "colours", tmp_path / "work")


class Recorder(Local):
    """This machine, with the commands that its programs got."""

    def place(self, bundle: Path) -> Any:
        program = super().place(bundle)

        def run(*arguments: str, timeout_s: float | None = None) -> Any:
            COMMANDS.append(arguments)
            return program(*arguments, timeout_s=timeout_s)

        return run


COMMANDS: list[tuple[str, ...]] = []


def timed(job: Job, bundle: Path) -> list[tuple[str, ...]]:
    COMMANDS.clear()
    run_bench(job, [Bundle(bundle, "student")])
    return [command for command in COMMANDS if command[0] == "bench"]


def test_what_was_timed_before_a_kill_is_not_timed_again(whole: Path, tmp_path: Path) -> None:
    entry = DeviceEntry(name="here", runtimes=("openvino",))
    with closing(Recorder(entry)) as device:
        quick = Bench(processes=2, queries=2, images=1, warm_up_s=0, throughput=False)
        job = Job(device, truth_of(tmp_path / "images"), bundles.LABELS, quick, tmp_path / "out")
        assert len(timed(job, whole)) == 2
        (tmp_path / "out/samples/openvino-fp32.1.json").unlink()
        assert len(timed(job, whole)) == 1


def test_an_engine_that_takes_the_process_down_costs_only_its_own_row(whole: Path, tmp_path: Path) -> None:
    """Beside the bundle a program of which one engine dies in `scores` and another prints no numbers of its time."""
    with closing(Local(DeviceEntry(name="here", runtimes=("openvino",)))) as device:
        real = device.place(whole)

        def program(*arguments: str, timeout_s: float | None = None) -> Any:
            if "dies" in arguments and arguments[0] == "scores":
                raise ProcessFailedError("exit code -11: nothing on its standard error")
            told = real(*["openvino-fp32" if word in ENGINES else word for word in arguments])
            if arguments[0] == "scores":
                out, named = Path(arguments[arguments.index("--out") + 1]), [n for n in ENGINES if n in arguments]
                for name in named:
                    shutil.copyfile(out / "openvino-fp32.npy", out / f"{name}.npy")
                return dict.fromkeys(named, told["openvino-fp32"])
            return told | {"samples": "many"} if "lies" in arguments else told

        row = dict.fromkeys(ROW) | {"kind": "reference", "model": "student", "threads": 1}
        candidates = tuple(Candidate(name, row | {"name": name}, (0.5,) * 3) for name in ENGINES)
        quick = Bench(processes=1, queries=2, images=1, warm_up_s=0, throughput=False)
        job = Job(
            device, truth_of(tmp_path / "images"), bundles.LABELS, quick, tmp_path / "out",
            extra=[Subject(program, candidates)],
        )  # fmt: skip
        rows = {row["name"]: row for row in run_bench(job, [Bundle(whole, "student")])["rows"]}
    assert {name: row["status"] for name, row in rows.items()} == {
        "openvino-fp32": "measured", "dies": "failed", "lies": "failed", "lives": "measured",
    }  # fmt: skip
    assert "exit code -11" in rows["dies"]["reason"]
    assert "samples: expected an object, got 'many'" in rows["lies"]["reason"]


@dataclass(frozen=True)
class Small(Local):
    """This machine, where a search for throughput runs out of memory."""

    def place(self, bundle: Path) -> Any:
        program = super().place(bundle)

        def run(*arguments: str, timeout_s: float | None = None) -> Any:
            if "--throughput" in arguments:
                raise ProcessFailedError("exit code -9: nothing on its standard error")
            return program(*arguments, timeout_s=timeout_s)

        return run


def test_a_search_that_fails_costs_no_latency(whole: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with closing(Small(DeviceEntry(name="here", runtimes=("openvino",)))) as device:
        quick = Bench(processes=1, queries=2, images=1, warm_up_s=0)
        job = Job(device, truth_of(tmp_path / "images"), bundles.LABELS, quick, tmp_path / "out")
        (found,) = run_bench(job, [Bundle(whole, "student")])["rows"]
    assert (found["status"], found["throughput"]) == ("measured", None)
    assert "throughput: expected an answer, got exit code -9" in caplog.text


ENGINES = ("dies", "lies", "lives")


class Choosy(Local):
    """This machine, had it a runtime for the first bundle alone."""

    def place(self, bundle: Path) -> Any:
        if "first" not in bundle.name:
            raise UnfitError("here: openvino: expected it, got none")
        return super().place(bundle)


def test_a_device_that_runs_no_reference_measures_what_ships(whole: Path, tmp_path: Path) -> None:
    """Such is a board with TensorRT alone: the references are for CPUs."""
    tested = [Bundle(shutil.copytree(whole, tmp_path / "first"), "student"), Bundle(whole, "teacher", "reference")]
    quick = Bench(processes=1, queries=2, images=1, warm_up_s=0, throughput=False)
    with closing(Choosy(DeviceEntry(name="here", runtimes=("openvino",)))) as device:
        job = Job(device, truth_of(tmp_path / "images"), bundles.LABELS, quick, tmp_path / "out")
        rows = {row["name"]: (row["status"], row["reason"]) for row in run_bench(job, tested)["rows"]}
        with pytest.raises(UnfitError, match="openvino"):
            run_bench(job, [Bundle(whole, "student")])
    reason = "here: openvino: expected it, got none"
    assert rows == {
        "openvino-fp32": ("measured", None),
        "teacher-openvino-fp32": ("built, not run", reason),
    }


@dataclass(frozen=True)
class Full(Local):
    """This machine with room for one image."""

    def copy_images(self, files: Any) -> str:
        if len(files) > 1:
            raise NoRoomError("here: expected room for the test set, got none")
        return super().copy_images(files)


def test_a_device_without_room_takes_its_accuracy_from_the_host_and_says_so(whole: Path, tmp_path: Path) -> None:
    truth = truth_of(tmp_path / "images")
    (tmp_path / "host").mkdir()
    np.save(tmp_path / "host/openvino-fp32.npy", truth.targets.astype(np.float32))
    manifest = read_bundle(whole)
    hashes = {"openvino-fp32": manifest.files["engines/fp32.xml"].sha256, "onnxruntime-fp32": "0" * 64}
    told = {name: {"ran": None, "sha256": sha256, "error": None} for name, sha256 in hashes.items()}
    quick = Bench(processes=1, queries=2, images=1, warm_up_s=0, throughput=False)
    with closing(Full(HERE)) as device:
        job = Job(device, truth, bundles.LABELS, quick, tmp_path / "out")
        with pytest.raises(NoRoomError, match="room for the test set"):
            run_bench(job, [Bundle(whole, "student")])
        host = Scored("desk", "avx2", tmp_path / "host", told)
        job = replace(job, host=host)
        rows = {row["name"]: row for row in run_bench(job, [Bundle(whole, "student")])["rows"]}
    assert rows["openvino-fp32"]["map"] == 1.0
    assert rows["openvino-fp32"]["map_from"] == {"device": "desk", "instruction_set": "avx2"}
    assert rows["onnxruntime-fp32"]["status"] == "failed"
    assert "expected those of the file that was timed" in rows["onnxruntime-fp32"]["reason"]
