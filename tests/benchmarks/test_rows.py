import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import output_check, rows
from benchmarks.accuracy import ReferenceScores, Truth, measure_accuracy
from benchmarks.device.output import Clock, Energy, ScoreResult
from benchmarks.device.protocol import PARTS
from benchmarks.parsing import parse, to_json
from benchmarks.schema import Row, ScoreSource
from export.bundle.bundle import read_bundle
from tests.helpers import bundles
from tests.helpers.printed import SHA, process

TARGETS = np.array([[1, 0], [0, 1], [1, 1], [0, 0]], dtype=np.uint8)
SCORES = np.array([[0.9, 0.2], [0.3, 0.6], [0.6, 0.7], [0.7, 0.1]], dtype=np.float32)
TRUTH = Truth(files=[Path(f"{i}.jpg") for i in range(4)], targets=TARGETS, groups=np.arange(4))
REFERENCE = ReferenceScores(SCORES[::-1].copy(), np.full(2, 0.5, np.float32))
ROW = Row(name="openvino-fp32", device="here", kind="engine", precision="fp32", threads=2)
SCORED = ScoreResult(sha256=SHA)
HERE = ScoreSource(device="here", instruction_set="avx2")


def measured(tmp_path: Path, *printed: Any, scored: ScoreResult = SCORED, scores: np.ndarray = SCORES) -> Row:
    np.save(tmp_path / "engine.npy", scores)
    processes = [output_check.read_process(one) for one in printed]
    return rows.measured_row(
        ROW, processes, scored, tmp_path / "engine.npy", TRUTH, [0.5, 0.5],
        labels=["ant", "bee"], map_from=HERE, reference=REFERENCE,
    )  # fmt: skip


def test_an_unmeasured_row_holds_what_the_manifest_says(tmp_path: Path) -> None:
    manifest = read_bundle(bundles.write_plain(tmp_path / "bundle", tmp_path / "model"))
    row = rows.unmeasured_row(manifest, manifest.engines[0], device="pi", model="teacher", kind="reference", threads=2)
    assert row == Row(
        name="onnxruntime-fp32",
        device="pi",
        kind="reference",
        model="teacher",
        runtime="onnxruntime",
        precision="fp32",
        threads=2,
        file="models/fp32.onnx",
        sha256=manifest.files["models/fp32.onnx"].sha256,
        bytes=11,
    )


def test_a_measured_row_pools_its_processes(tmp_path: Path) -> None:
    two = [process(2.0), process(3.0, clock_mhz={"before": 2800.0, "after": 2500.0}, peak_rss_mb=120.0)]
    row = measured(tmp_path, *two)
    assert (row.status, row.reason, row.map_from) == ("measured", None, HERE)
    assert (row.name, row.precision, row.threads) == (ROW.name, ROW.precision, ROW.threads)
    accuracy = measure_accuracy(SCORES, TRUTH, [0.5, 0.5], labels=["ant", "bee"], reference=REFERENCE)
    assert vars(accuracy).items() <= vars(row).items()
    pooled = two[0]["samples"]["end_to_end_ms"] + two[1]["samples"]["end_to_end_ms"]
    assert row.end_to_end_ms.p90 == pytest.approx(np.percentile(pooled, 90))
    assert row.end_to_end_ms.p90_bound > row.end_to_end_ms.p90
    assert row.engine_ms.p50 == 2
    assert row.engine_ms.p90_bound is None
    assert row.queries == 140 == sum(row.histogram.counts)
    assert row.process_p50_ms == pytest.approx([2.345, 3.345])
    assert row.spread == pytest.approx((3.52 - 2.17) / 2.845)  # medians of halves: 2.17, 2.52, 3.17, 3.52
    assert row.unstable
    assert row.clock_mhz == Clock(before=3000.0, after=2500.0)
    assert row.energy == Energy(mj_per_query=3.0, meter="RAPL package")
    assert row.peak_rss_mb == 120
    assert parse(Row, to_json(row)) == row


def test_another_load_for_half_of_a_process_makes_a_row_unstable(tmp_path: Path) -> None:
    """Though every process has the same median."""
    quiet, loaded = [2.0] * 128, [2.0] * 64 + [3.0] * 64
    for samples, unstable in ((quiet, False), (loaded, True)):
        one = process()
        parts = {name: [value / len(PARTS) for value in samples] for name in one["samples"] if name != "engine_ms"}
        one["samples"] |= parts | {"end_to_end_ms": samples}
        row = measured(tmp_path, one, one)
        assert row.process_p50_ms[0] == row.process_p50_ms[1]
        assert row.unstable is unstable


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("load_ms", "fast", "load_ms: expected a number"),
        ("load_ms", math.nan, "load_ms: expected a number"),
        ("first_ms", True, "first_ms: expected a number"),
        ("first_ms", -1, "first_ms: expected a number"),
        ("warm_up.settled", 1, "settled: expected true or false"),
        ("bytes", 1.5, "bytes: expected a whole number"),
        ("bytes", True, "bytes: expected a whole number"),
        ("bytes", -1, "bytes: expected a whole number of 0 to"),
        ("ran", None, "ran: expected an object"),
        ("ran.version", "<b>\n", "ran: version: expected up to 300 printable"),
        ("ran.placed", 7, "ran: placed: expected a number of 0 to 1"),
        ("energy.mj_per_query", math.inf, "energy: mj_per_query: expected a number"),
        ("pinned", [0, "x"], "pinned: [1]: expected a whole number"),
        ("temperature_c.after", -300.0, "temperature_c: after: expected a number of -273 to 1000"),
        ("samples", "many", "samples: expected an object, got 'many'"),
        ("samples.engine_ms", [], "samples: engine_ms: expected a list of milliseconds, at least one"),
        ("samples.engine_ms", [1.0, None], "samples: engine_ms: [1]: expected a number"),
        ("samples.engine_ms", [0.0], "samples: expected queries that take longer than 0 ms"),
        ("samples.post_ms", [1.0], "samples: post_ms: expected 70 samples, as end to end, got 1"),
        ("samples.post_ms", [9.0] * 70, "samples: expected parts that add up to end to end"),
        (
            "throughput",
            {"images_per_second": 1, "batch": 1, "streams": 1, "tried": [[1, 2]]},
            "throughput: tried: [0]: expected a list of 3",
        ),
    ],
)
def test_invalid_output_of_a_device_is_refused_and_named(path: str, value: Any, message: str) -> None:
    printed = copy.deepcopy(process())
    *above, name = path.split(".")
    place = printed
    for part in above:
        place = place[part]
    place[name] = value
    with pytest.raises(ValueError, match=r"^Invalid output from the device: ") as refused:
        output_check.read_process(printed)
    assert message in str(refused.value)
    del place[name]
    with pytest.raises(ValueError, match=f"{name}: expected a value, got nothing"):
        output_check.read_process(printed)


@pytest.mark.parametrize("printed", [None, [], "text", 3])
def test_what_is_no_object_is_refused(printed: Any) -> None:
    with pytest.raises(ValueError, match="device: expected an object"):
        output_check.read_process(printed)
    with pytest.raises(ValueError, match="about its scores: expected an object"):
        output_check.read_score_result(printed)


def test_a_row_needs_processes_and_scores_of_one_file(tmp_path: Path) -> None:
    other = "cd" * 32
    for printed, scored, message in [
        ([], ScoreResult(), "got none; raise `processes`"),
        ([process()], ScoreResult(error="out of\nmemory"), "out of\nmemory"),
        ([process()], ScoreResult(sha256=other), "those of the file that was timed, abababababab…, got those of cdcd"),
        ([process(), process(sha256=other)], ScoreResult(), "timed one file, got several"),
    ]:
        with pytest.raises(ValueError, match=message):
            measured(tmp_path, *printed, scored=scored)
    failed = rows.failed_row(ROW, "out of\nmemory")
    assert (failed.status, failed.reason) == ("failed", "out of memory")


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (SCORES[:3], r"expected float32 scores \(4, 2\), got float32 \(3, 2\)"),
        (SCORES.astype(np.float64), r"got float64 \(4, 2\)"),
        (SCORES + 1, r"expected scores in 0..1"),
        (np.full((4, 2), np.nan, dtype=np.float32), r"expected scores in 0..1"),
    ],
)
def test_scores_that_cannot_be_are_refused(tmp_path: Path, scores: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        measured(tmp_path, process(), scores=scores)


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
