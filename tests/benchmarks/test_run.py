from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.accuracy import Truth
from benchmarks.program import ProcessFailedError, Program
from benchmarks.rows import MEASURED, latency
from benchmarks.run import Bench, _score_all, plan, run_bench
from export.backends import OnnxRuntime
from export.bundle import Parts, read_bundle, write_bundle
from mlkd.progress import silent
from tests import bundles

SMALL = Bench(processes=2, queries=12, pictures=4, warm_up_s=0.1, replicates=20)


def truth_of(folder: Path) -> Truth:
    files = bundles.write_pictures(folder)
    targets = [[int(component > 0) for component in bundles.COLOURS[name]] for name in files]
    targets_array = np.array(targets, dtype=np.uint8)
    return Truth(files=list(files.values()), targets=targets_array, groups=np.arange(4), major=targets_array)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """One real measurement through the shipped file; the first engine cannot run here and the last is broken."""
    work = tmp_path_factory.mktemp("run")
    whole = read_bundle(bundles.write_colours(work / "colours", work / "work"))
    bad = bundles.engine("onnxruntime-broken", OnnxRuntime(threads=1), ("models/bad.onnx",))
    (work / "bad.onnx").write_bytes(b"not a graph")
    sources = {path: work / "colours" / path for path in whole.files if path != "tagger.pyz"}
    parts = Parts(
        manifest=bundles.manifest(*whole.engines, bad), sources={**sources, "models/bad.onnx": work / "bad.onnx"}
    )
    write_bundle(parts, work / "bundle")
    return run_bench(work / "bundle", truth_of(work / "pictures"), SMALL, work / "out", seed=3), work


def row(ran: tuple[dict[str, Any], Path], name: str) -> dict[str, Any]:
    return next(row for row in ran[0]["rows"] if row["name"] == name)


@pytest.mark.parametrize("name", ["onnxruntime-fp32", "openvino-fp32"])
def test_a_row_is_measured_by_the_shipped_program(ran: tuple[dict[str, Any], Path], name: str) -> None:
    measured = row(ran, name)
    assert measured["status"] == "measured"
    assert measured["map"] == measured["map_major"] == 1.0
    assert measured["map_minor"] is None
    assert measured["cf1"] == measured["of1"] == 1.0
    assert measured["ap"] == [1.0, 1.0, 1.0]
    assert 0 < measured["engine_ms"]["p50"] < measured["end_to_end_ms"]["p50"]
    assert measured["end_to_end_ms"]["p50"] <= measured["end_to_end_ms"]["p90"] <= measured["end_to_end_ms"]["max"]
    assert measured["first_ms"] > 0
    assert (measured["compute"], measured["placed"]) == ("f32", 1.0)
    assert measured["images_per_second_batch8"] > 0
    assert measured["runtime"].split()[0].lower().startswith(name.split("-")[0])
    assert 20 < measured["peak_rss_mb"] < 2000
    assert len(measured["pinned"]) == 1
    assert measured["built_here"] is False
    assert set(measured) == set(row(ran, "tensorrt-fp16-sm86"))


def test_raw_samples_and_scores_are_kept(ran: tuple[dict[str, Any], Path]) -> None:
    result, work = ran
    kept = sorted(file.name for file in (work / "out/samples").iterdir())
    assert kept == [f"{engine}.{i}.json" for engine in ("onnxruntime-fp32", "openvino-fp32") for i in range(2)]
    raw = [json.loads((work / "out/samples" / name).read_text())["samples"]["end_to_end_ms"] for name in kept[:2]]
    assert row(ran, "onnxruntime-fp32")["end_to_end_ms"]["p90"] == pytest.approx(np.percentile(np.ravel(raw), 90))
    assert np.load(work / "out/scores/openvino-fp32.npy").shape == (4, 3)
    assert json.loads(json.dumps(result)) == result


def test_an_engine_that_cannot_run_here_says_so(ran: tuple[dict[str, Any], Path]) -> None:
    built = row(ran, "tensorrt-fp16-sm86")
    assert built["status"] == "built, not run"
    assert built["reason"]
    assert built["end_to_end_ms"] is built["map"] is None
    files = read_bundle(ran[1] / "bundle").engine("tensorrt-fp16-sm86").files
    assert built["bytes"] == sum((ran[1] / "bundle" / file).stat().st_size for file in files) > len(b"not a plan")


def test_an_engine_that_fails_says_why_and_the_rest_goes_on(ran: tuple[dict[str, Any], Path]) -> None:
    failed = row(ran, "onnxruntime-broken")
    assert failed["status"] == "failed"
    assert "exit code 2: tagger: " in failed["reason"]
    assert all(failed[field] is None for field in MEASURED if field != "reason")


def test_the_machine_and_the_protocol_are_told(ran: tuple[dict[str, Any], Path]) -> None:
    assert ran[0]["machine"]["cpu"]
    assert ran[0]["protocol"]["queries"].startswith("12 a process")


def test_an_engine_that_takes_the_process_down_costs_only_its_own_scores(tmp_path: Path) -> None:
    def program(*arguments: str) -> Any:
        if "bad" in arguments:
            raise ProcessFailedError("exit code -11: nothing on its standard error")
        return {engine: {"ran": {}, "error": None} for engine in ("a", "b") if engine in arguments}

    found = _score_all(program, ["a", "bad", "b"], tmp_path / "test.txt", tmp_path, silent)
    assert {engine: entry["error"] is None for engine, entry in found.items()} == {"a": True, "bad": False, "b": True}
    assert "exit code -11" in found["bad"]["error"]


def test_runs_are_interleaved_by_the_seed() -> None:
    runs = plan(["a", "b", "c"], 3, seed=0)
    assert sorted(runs) == [(engine, process) for engine in "abc" for process in range(3)]
    assert runs == plan(["a", "b", "c"], 3, seed=0)
    assert runs != plan(["a", "b", "c"], 3, seed=1)
    assert [engine for engine, _ in runs] != sorted(engine for engine, _ in runs)


def printed(p50: float, **changes: Any) -> dict[str, Any]:
    names = ("end_to_end_ms", "decode_ms", "resize_ms", "infer_ms", "post_ms", "engine_ms")
    return {
        "ran": {"version": "onnxruntime 1", "provider": "CPU", "device": "CPU", "compute": "f32", "placed": 0.75},
        "samples": {name: [p50] * 5 for name in names},
        "pinned": [1],
        "built_here": False,
        "sha256": "0" * 64,
        "bytes": 1000,
        "load_ms": 3.0,
        "first_ms": 4.0,
        "images_per_second": 10.0,
        "peak_rss_mb": 50.0,
        "settled": True,
        **changes,
    }


@pytest.mark.parametrize(("slowest", "unstable"), [(1.09, False), (1.2, True)])
def test_processes_that_disagree_are_marked(slowest: float, unstable: bool) -> None:
    fields = latency([printed(1.0), printed(1.0), printed(slowest)])
    assert fields["spread"] == pytest.approx(slowest - 1)
    assert fields["unstable"] is unstable
    assert fields["placed"] == 0.75
    assert fields["built_here"] is False


def test_an_engine_built_on_this_machine_is_told_from_the_shipped_one() -> None:
    assert latency([printed(1.0), printed(1.0, built_here=True)])["built_here"] is True


def test_one_unsettled_process_marks_the_row_and_the_largest_memory_counts() -> None:
    fields = latency([printed(1.0), printed(1.0, settled=False, peak_rss_mb=70.0), printed(1.0, peak_rss_mb=None)])
    assert fields["settled"] is False
    assert fields["peak_rss_mb"] == 70.0


def test_a_process_sees_nothing_of_this_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    code = "import json, os, sys; print(json.dumps([os.environ.get('PYTHONPATH'), os.getcwd(), sys.argv[1:]]))"
    path, folder, arguments = Program([sys.executable, "-c", code], 60)("a", "b")
    assert path is None
    assert Path(folder) != Path.cwd()
    assert arguments == ["a", "b"]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import sys; sys.exit('first\\nlast words')", "exit code 1: last words"),
        ("import os; os.abort()", r"exit code -6: nothing on its standard error"),
        ("import time; time.sleep(9)", r"no answer within 0.5 s"),
    ],
)
def test_a_process_that_dies_says_its_last_words(code: str, message: str) -> None:
    with pytest.raises(ProcessFailedError, match=message):
        Program([sys.executable, "-S", "-c", code], 0.5)()


@pytest.mark.parametrize("field", ["processes", "queries", "threads", "pictures", "replicates", "timeout_s"])
def test_a_bench_without_work_is_refused(field: str) -> None:
    with pytest.raises(ValueError, match=rf"bench.{field}: expected more than 0, got 0"):
        Bench(**{field: 0})
