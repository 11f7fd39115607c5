from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import output_check, rows
from benchmarks.accuracy import Truth, accuracy
from export.bundle.bundle import read_bundle
from tests.helpers import bundles

TARGETS = np.array([[1, 0], [0, 1], [1, 1], [0, 0]], dtype=np.uint8)
SCORES = np.array([[0.9, 0.2], [0.3, 0.6], [0.6, 0.7], [0.7, 0.1]], dtype=np.float32)
TRUTH = Truth(files=[Path(f"{i}.jpg") for i in range(4)], targets=TARGETS, groups=np.arange(4))
SHA = "ab" * 32


def process(milliseconds: float = 2.0, queries: int = 70, **changes: Any) -> dict[str, Any]:
    whole = [milliseconds + 0.01 * query for query in range(queries)]
    samples = {
        f"{part}_ms": [value * share for value in whole]
        for part, share in zip(output_check.PARTS, (0.2, 0.1, 0.6, 0.1), strict=True)
    }
    told = {
        "engine": "openvino-fp32",
        "ran": {
            "provider": "openvino",
            "device": "CPU",
            "compute": "f32",
            "version": "openvino 2026.4.1",
            "placed": 1.0,
        },
        "sha256": SHA,
        "bytes": 1234,
        "built_here": False,
        "pinned": [1],
        "queries": queries,
        "load_ms": 100.0,
        "first_ms": 30.0,
        "settled": True,
        "samples": {"end_to_end_ms": whole, "engine_ms": [1.0, 3.0], **samples},
        "peak_rss_mb": 100.0,
        "gpu_memory_mb": None,
        "energy": {"mj_per_query": 3.0, "meter": "RAPL package"},
        "clock_mhz": {"before": 3000.0, "after": 2900.0},
        "temperature_c": {"before": 40.0, "after": None},
        "throughput": None,
        "sustained": None,
    }
    return told | changes


def outcome(tmp_path: Path, timed: Any, scored: Any = None, scores: np.ndarray = SCORES) -> dict[str, Any]:
    np.save(tmp_path / "engine.npy", scores)
    scored = {"ran": None, "sha256": SHA, "error": None} if scored is None else scored
    return rows.outcome(
        timed, scored, tmp_path / "engine.npy", TRUTH, [0.5, 0.5],
        labels=["ant", "bee"], map_from={"device": "this machine", "instruction_set": "avx2"},
        float_scores=SCORES[::-1].copy(), float_thresholds=[0.5, 0.5],
    )  # fmt: skip


def test_facts_hold_every_key_and_none_where_nothing_was_measured(tmp_path: Path) -> None:
    manifest = read_bundle(bundles.write_plain(tmp_path / "bundle", tmp_path / "model"))
    row = rows.facts(manifest, manifest.engines[0], device="pi", model="teacher", kind="reference", threads=2)
    assert tuple(row) == rows.ROW
    known = {name: value for name, value in row.items() if value is not None}
    assert known == {
        "name": "onnxruntime-fp32",
        "device": "pi",
        "kind": "reference",
        "model": "teacher",
        "runtime": "onnxruntime",
        "precision": "fp32",
        "threads": 2,
        "file": "models/fp32.onnx",
        "sha256": manifest.files["models/fp32.onnx"].sha256,
        "bytes": 11,
    }


def test_an_outcome_fills_the_row_and_adds_no_key(tmp_path: Path) -> None:
    two = [process(2.0), process(3.0, clock_mhz={"before": 2800.0, "after": 2500.0}, peak_rss_mb=120.0)]
    found = outcome(tmp_path, two)
    left = {"name", "device", "kind", "model", "precision", "threads", "file", "throughput", "sustained"}
    assert set(found) == set(rows.ROW) - left
    assert found["status"] == "measured"
    assert found["map_from"] == {"device": "this machine", "instruction_set": "avx2"}
    expected = accuracy(
        SCORES, TRUTH, [0.5, 0.5], labels=["ant", "bee"], float_scores=SCORES[::-1], float_thresholds=[0.5, 0.5],
    )  # fmt: skip
    assert expected.items() <= found.items()
    pooled = two[0]["samples"]["end_to_end_ms"] + two[1]["samples"]["end_to_end_ms"]
    assert found["end_to_end_ms"]["p90"] == pytest.approx(np.percentile(pooled, 90))
    assert found["end_to_end_ms"]["p90_bound"] > found["end_to_end_ms"]["p90"]
    assert found["engine_ms"]["p50"] == 2
    assert found["engine_ms"]["p90_bound"] is None
    assert found["queries"] == 140 == sum(found["histogram"]["counts"])
    assert found["process_p50_ms"] == pytest.approx([2.345, 3.345])
    assert found["spread"] == pytest.approx(1 / 2.845)
    assert found["unstable"]
    assert found["clock_mhz"] == {"before": 3000.0, "after": 2500.0}
    assert found["energy"] == {"mj_per_query": 3.0, "meter": "RAPL package"}
    assert found["peak_rss_mb"] == 120
    assert json.loads(json.dumps(found, allow_nan=False)) == found


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("load_ms", "fast", "load_ms: expected a number"),
        ("load_ms", math.nan, "load_ms: expected a number"),
        ("first_ms", True, "first_ms: expected a number"),
        ("first_ms", -1, "first_ms: expected a number"),
        ("settled", 1, "settled: expected true or false"),
        ("bytes", 1.5, "bytes: expected a whole number"),
        ("bytes", True, "bytes: expected a whole number"),
        ("ran", None, "ran: expected an object"),
        ("ran.version", "<b>\n", "ran: version: expected up to 300 printable"),
        ("ran.placed", 7, "ran: placed: expected a number of 0 to 1"),
        ("energy.mj_per_query", math.inf, "energy: mj_per_query: expected a number"),
        ("pinned", [0, "x"], "pinned: expected a whole number"),
        ("samples.engine_ms", [], "samples: engine_ms: expected a list of milliseconds, at least one"),
        ("samples.engine_ms", [1.0, None], "samples: engine_ms: expected a number"),
        ("samples.engine_ms", [0.0], "samples: expected queries that take longer than 0 ms"),
        ("samples.post_ms", [1.0], "samples: post_ms: expected 70 samples, as end to end, got 1"),
        ("samples.post_ms", [9.0] * 70, "samples: expected parts that add up to end to end"),
        (
            "throughput",
            {"images_per_second": 1, "batch": 1, "streams": 1, "tried": [[1, 2]]},
            "throughput: tried: expected",
        ),
    ],
)
def test_what_a_device_prints_wrongly_fails_the_row_and_is_named(
    tmp_path: Path, path: str, value: Any, message: str
) -> None:
    told = copy.deepcopy(process())
    *above, name = path.split(".")
    place = told
    for part in above:
        place = place[part]
    place[name] = value
    found = outcome(tmp_path, [process(), told])
    assert found["status"] == "failed"
    assert message in found["reason"]
    assert set(found) == {"status", "reason"}
    del place[name]
    assert f"{name}: expected it there, got nothing" in outcome(tmp_path, [told])["reason"]


@pytest.mark.parametrize("told", [None, [], "text", 3])
def test_what_is_no_object_fails_the_row(tmp_path: Path, told: Any) -> None:
    assert "expected an object" in outcome(tmp_path, [told])["reason"]
    assert "of its scores: expected" in outcome(tmp_path, [process()], scored=[told])["reason"]


def test_errors_of_the_device_become_the_reason(tmp_path: Path) -> None:
    assert outcome(tmp_path, "no answer within 3 s") == {"status": "failed", "reason": "no answer within 3 s"}
    assert "got none; raise `processes`" in outcome(tmp_path, [])["reason"]
    broken = {"ran": None, "sha256": None, "error": "out of\nmemory"}
    assert outcome(tmp_path, [process()], broken)["reason"] == "out of memory"


def test_scores_are_those_of_the_file_that_was_timed(tmp_path: Path) -> None:
    other = {"ran": None, "sha256": "cd" * 32, "error": None}
    assert (
        "expected those of the file that was timed, abababababab…, got those of cdcd"
        in outcome(tmp_path, [process()], other)["reason"]
    )
    assert "timed one file, got several" in outcome(tmp_path, [process(), process(sha256="cd" * 32)])["reason"]


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (SCORES[:3], r"expected float32 scores (4, 2), got float32 (3, 2)"),
        (SCORES.astype(np.float64), r"got float64 (4, 2)"),
        (SCORES + 1, r"expected scores in 0..1"),
        (np.full((4, 2), np.nan, dtype=np.float32), r"expected scores in 0..1"),
    ],
)
def test_scores_that_cannot_be_fail_the_row(tmp_path: Path, scores: np.ndarray, message: str) -> None:
    assert message in outcome(tmp_path, [process()], scores=scores)["reason"]


def test_a_file_of_scores_that_lies_or_is_missing_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "engine.npy"
    with pytest.raises(ValueError, match=r"engine.npy: expected a file of scores"):
        rows.load_scores(file, (4, 2))
    np.save(file, SCORES)
    file.write_bytes(file.read_bytes().replace(b"(4, 2)", b"(4, 9)"))
    with pytest.raises(ValueError, match=r"engine.npy: expected a file of scores"):
        rows.load_scores(file, (4, 9))
    np.save(file, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"engine.npy: expected a file of scores"):
        rows.load_scores(file, (4, 2))
