"""What of a measurement is published, how this machine is called, and what is noted beside it."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from benchmarks.config import Bench
from benchmarks.remote import DeviceEntry
from benchmarks.schema import DeviceFacts, Report, Row, ScoreSource
from benchmarks.sections import Distillation, Screened, SearchResult
from export.backends import OnnxRuntime
from mlkd.core.labels import Labels
from mlkd.data.prepared import Split
from pipeline.report_facts import agreement
from pipeline.stages import bench, report
from tests.helpers import bundles, rows

ENGINES = [bundles.engine(name, OnnxRuntime(), ("models/fp32.onnx",)) for name in ("shipped", "rebuilt", "absent")]


@pytest.fixture
def measured() -> Report:
    """Of two engines that ran, one as deployed, of one that did not, of a net in torch, and of another device."""
    ran = partial(rows.measured, p90=2.5, built_here=False, map_from=ScoreSource(device="here"))
    machine = dict.fromkeys(("cpu", "architecture", "cores", "os", "gpus", "driver", "runtimes"), "some")
    return Report(
        schema=3,
        devices=[DeviceFacts(name="here", machine=machine), DeviceFacts(name="pi")],
        rows=[
            ran("shipped"),
            ran("rebuilt", built_here=True),
            Row(name="absent", device="here", kind="engine", reason="no GPU"),
            ran("student-torch"),
            ran("shipped", p90=9.5, device="pi"),
            ran("absent", p90=9.5, device="pi"),
        ],
        search=SearchResult(
            screen=[Screened(candidate="small", device=device, kept=True) for device in ("here", "pi")]
        ),
    )


def test_only_an_engine_as_deployed_gets_its_latency_here_into_the_manifest(measured: Report) -> None:
    other = dataclasses.replace(measured.rows[0], model="fastest", name="rebuilt")
    measured = dataclasses.replace(measured, rows=[*measured.rows, other])
    published = report._measured_manifest(bundles.manifest(*ENGINES), measured)
    assert [engine.p50_ms for engine in published.engines] == [2.5, None, None]
    assert published.measured
    assert published.measured_on == measured.devices[0].machine


def test_what_was_not_run_or_built_there_is_noted(measured: Report) -> None:
    assert report._notes_on_rows(measured.rows) == [
        "rebuilt on here: built there, not the bundle's own file",
        "absent on here: built, not run: no GPU",
    ]


def test_a_new_name_of_this_machine_is_everywhere(measured: Report) -> None:
    renamed = report._rename(measured, DeviceEntry(name="desk", power_mode="quiet"))
    assert [device.name for device in renamed.devices] == ["desk", "pi"]
    assert renamed.devices[0].power_mode == "quiet"
    assert [row.device for row in renamed.rows] == ["desk"] * 4 + ["pi"] * 2
    assert renamed.rows[4].map_from == ScoreSource(device="desk"), "the mAP of that row is from here"
    assert renamed.search is not None
    assert [point.device for point in renamed.search.screen] == ["desk", "pi"]


@pytest.mark.parametrize("absent", [True, False])
def test_what_the_audit_noted_and_labels_without_test_images_are_notes(absent: bool, tmp_path: Path) -> None:
    (tmp_path / "about.json").write_text('{"notes": [{"claim": "Two are alike.", "numbers": "3."}]}')
    targets = np.array([[1, 0], [0, not absent]], np.uint8)
    test = Split(tmp_path, "test", Labels(("cat", "owl")), (), (), (), (), (), targets)
    notes = ["No test image is known to have: owl. mAP is the mean over the other labels."] if absent else []
    assert bench._notes_on_data(test) == [*notes, "Two are alike. 3."]


def test_a_check_that_cannot_be_made_is_noted_and_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise agreement.AgreementError("benchmark_app: expected it, got none")

    monkeypatch.setattr(agreement, "check_agreement", fails)
    assert bench._check_clock([], Bench()) == (None, []), "only a thorough bench checks itself"
    found, notes = bench._check_clock([], Bench().thorough())
    assert found is None
    assert notes == ["The check against benchmark_app could not be made: benchmark_app: expected it, got none"]


@pytest.mark.parametrize(
    ("low", "expected"), [(float("nan"), "(too few test images for an interval)"), (-0.01, "(95 %: −1.0 to +3.0)")]
)
def test_the_gain_is_logged_with_its_interval(low: float, expected: str, caplog: pytest.LogCaptureFixture) -> None:
    gain = Distillation(student_map=0.5, baseline_map=0.4, difference=0.1, low=low, high=low + 0.04)
    with caplog.at_level("INFO"):
        bench._log_results(gain, None, None)
    assert caplog.messages[0].endswith(expected)
