"""A bundle measured in a real browser, and one whose page or browser fails."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from benchmarks.accuracy import ReferenceScores, Truth
from benchmarks.browser import page_files
from benchmarks.config import Bench
from benchmarks.device.tagger_process import ProcessFailedError
from benchmarks.latency import run_latency
from benchmarks.measured_models import Bundle
from benchmarks.parsing import parse, to_json
from benchmarks.remote import DeviceEntry, DeviceError, open_device
from benchmarks.remote.browser import Browser
from benchmarks.run import Job, run_bench
from benchmarks.schema import DeviceResult
from tests.helpers import bundles, pages

pytestmark = pytest.mark.usefixtures("measured_page")

ENTRY = DeviceEntry(name="Chromium here", kind="browser", timeout_s=60)
BENCH = Bench(processes=1, queries=70, images=4, warm_up_s=0.1, sustained_s=0.2, throughput=True)


@pytest.fixture
def device() -> Iterator[Browser]:
    made = open_device(ENTRY)
    assert isinstance(made, Browser)
    with closing(made):
        yield made


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    files = bundles.write_images(tmp_path_factory.mktemp("truth"))
    targets = np.array([[component > 0 for component in bundles.COLOURS[name]] for name in files], dtype=np.uint8)
    return Truth(files=list(files.values()), targets=targets, groups=np.arange(4))


@pytest.fixture(scope="module")
def measured(
    measured_page: None, colours: Path, truth: Truth, tmp_path_factory: pytest.TempPathFactory
) -> tuple[DeviceResult, Path]:
    """Everything that a bench asks of a browser."""
    out = tmp_path_factory.mktemp("out")
    own = ReferenceScores(truth.targets.astype(np.float32), np.full(3, 0.5, np.float32))
    with closing(open_device(ENTRY)) as device:
        return run_bench(
            Job(device, truth, bundles.LABELS, BENCH, out), [Bundle(colours, "student", reference=own)]
        ), out


def test_a_graph_for_cpus_is_measured_in_the_page(measured: tuple[DeviceResult, Path], colours: Path) -> None:
    result, out = measured
    row = {row.name: row for row in result.rows}["onnxruntime-fp32"]
    assert (row.status, row.device, row.threads, row.queries) == ("measured", "Chromium here", 1, 70)
    assert row.runtime is not None
    assert row.runtime.startswith("ONNX Runtime Web (WASM) 1.")
    assert (row.provider, row.compute, row.precision) == ("wasm", "f32", "fp32")
    assert row.bytes == sum((colours / f"models/fp32.onnx{end}").stat().st_size for end in ("", ".stamp.json"))
    assert row.end_to_end_ms is not None
    assert row.engine_ms is not None
    assert 0 < row.engine_ms.p50 < row.end_to_end_ms.p50 <= row.end_to_end_ms.p90 <= row.end_to_end_ms.p90_bound
    assert row.sustained is not None
    assert row.sustained.seconds > 0.1
    assert (row.throughput, row.peak_rss_mb, row.pinned) == (None, None, None)
    samples = json.loads((out / "samples/onnxruntime-fp32.0.json").read_text())["samples"]
    assert len(samples["engine_ms"]) == len(samples["decode_ms"]) == 70


def test_accuracy_is_that_of_the_page(measured: tuple[DeviceResult, Path], truth: Truth) -> None:
    """Against the formula of the graph, which is the same in any program."""
    result, out = measured
    row = {row.name: row for row in result.rows}["onnxruntime-fp32"]
    assert row.map_from is not None
    assert (row.map, row.delta_map, row.flipped) == (1.0, 0.0, 0.0)
    assert (row.map_from.device, row.map_from.instruction_set) == ("Chromium here", "wasm")
    logits = np.array(list(bundles.COLOURS.values())) * 12 / 255 - 6
    np.testing.assert_allclose(np.load(out / "scores/onnxruntime-fp32.npy"), 1 / (1 + np.exp(-logits)), atol=0.01)


def test_an_engine_of_another_runtime_is_listed_with_the_reason(measured: tuple[DeviceResult, Path]) -> None:
    rows = {row.name: row for row in measured[0].rows}
    for name in ("openvino-fp32", "tensorrt-fp16-sm86"):
        assert rows[name].status == "built, not run"
        assert f"{name.partition('-')[0]}: expected a plain ONNX graph" in str(rows[name].reason)


def test_the_browser_and_its_clock_are_facts_of_the_device(measured: tuple[DeviceResult, Path]) -> None:
    device = measured[0].device
    assert (device.threads, device.machine["instruction_set"]) == (1, "wasm")
    assert "Chrome/" in device.machine["browser"]
    assert "--headless" in device.machine["browser_flags"]
    assert device.machine["sandbox"] in ("on", "off, as root cannot have one")
    assert 0 < device.machine["clock_step_us"] < 10
    assert parse(DeviceResult, json.loads(json.dumps(to_json(measured[0]), allow_nan=False))) == measured[0]


def test_a_search_times_its_candidates_in_a_browser(
    device: Browser, colours: Path, truth: Truth, tmp_path: Path
) -> None:
    bench = Bench(processes=1, reference_processes=1, queries=8, images=2, warm_up_s=0.1)
    rows = run_latency(Job(device, truth, (), bench, tmp_path), [Bundle(colours, "a", "reference")])
    found = {row.name: row for row in rows}
    assert found["a-onnxruntime-fp32"].status == "measured"
    assert found["a-openvino-fp32"].status == "failed"
    assert "expected a plain ONNX graph" in str(found["a-openvino-fp32"].reason)


def test_an_engine_with_other_scores_is_not_run(device: Browser, colours: Path, tmp_path: Path) -> None:
    """Its golden scores are of another gain."""
    other = bundles.changed(
        colours, tmp_path / "bundle", {"models/fp32.onnx": bundles.write_onnx(tmp_path / "6", gain=6)}
    )
    engines = {engine["name"]: engine["lacks"] for engine in device.place(other)("info", "--json")["engines"]}
    assert "wrong tags on this machine: expected the scores of its self-test within" in engines["onnxruntime-fp32"]


def test_a_graph_that_does_not_load_has_the_error_of_the_runtime(
    device: Browser, colours: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"not a graph")
    broken = bundles.changed(colours, tmp_path / "bundle", {"models/fp32.onnx": tmp_path / "bad.onnx"})
    run, images = device.place(broken), device.copy_images(list(bundles.write_images(tmp_path / "images").values()))
    with pytest.raises(ProcessFailedError, match=r"the page failed: .*protobuf parsing failed") as raised:
        run("scores", "--engine", "onnxruntime-fp32", "--images", images, "--out", str(tmp_path))
    assert "127.0.0.1" not in str(raised.value)


def test_what_a_page_cannot_do_is_refused(device: Browser, colours: Path) -> None:
    run = device.place(colours)
    with pytest.raises(ProcessFailedError, match="openvino: expected a plain ONNX graph"):
        run("bench", "--engine", "openvino-fp32")
    with pytest.raises(ProcessFailedError, match="as a page has one thread and no batches, got --throughput"):
        run("bench", "--engine", "onnxruntime-fp32", "--throughput")
    with pytest.raises(DeviceError, match="got a browser"):
        device.program("tagger.pyz")


def test_an_unreadable_image_is_named_by_its_place(device: Browser, colours: Path, tmp_path: Path) -> None:
    images = list(bundles.write_images(tmp_path).values())
    images[1].write_bytes(b"not an image")
    words = ["--engine", "onnxruntime-fp32", "--images", device.copy_images(images), "--out", str(tmp_path)]
    with pytest.raises(ProcessFailedError, match="the page failed: Error: images/1: UnreadableImageError: "):
        device.place(colours)("scores", *words)


def test_a_page_that_hangs_is_the_error_of_one_process(
    device: Browser, colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging = pages.written(tmp_path / "page", "export function queries() { for (;;); }")
    monkeypatch.setattr(page_files, "HERE", hanging)
    images = device.copy_images(list(bundles.write_images(tmp_path / "images").values()))
    words = ["--engine", "onnxruntime-fp32", "--images", images, "--queries", "1"]
    with pytest.raises(ProcessFailedError, match=r"^no answer within 3 s$"):
        device.place(colours)("bench", *words, timeout_s=3.0)


def test_a_missing_browser_is_an_error_of_the_device(colours: Path) -> None:
    entry = DeviceEntry(name="a", kind="browser", executable="no-such-browser")
    message = "a: executable: expected no-such-browser on this machine, got none; install Chromium"
    with closing(open_device(entry)) as device, pytest.raises(DeviceError, match=message):
        device.place(colours)


def test_closing_ends_what_runs(colours: Path, tmp_path: Path) -> None:
    device = open_device(ENTRY)
    run = device.place(colours)
    images = device.copy_images(list(bundles.write_images(tmp_path / "images").values()))
    failed: list[Exception] = []

    def measure() -> None:
        try:
            run("bench", "--engine", "onnxruntime-fp32", "--images", images, "--queries", "1", "--least-s", "50")
        except Exception as cause:
            failed.append(cause)

    thread = threading.Thread(target=measure)
    thread.start()
    while not device._running:  # type: ignore[attr-defined]
        thread.join(0.01)
    device.close()
    thread.join(30)
    assert not thread.is_alive()
    assert "the browser ended" in str(failed)
    with pytest.raises(DeviceError, match="got a closed one"):
        run("info")
