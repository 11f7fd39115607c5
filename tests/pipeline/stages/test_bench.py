"""What of a measurement is published, how this machine is called, and what is noted beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.config import Bench
from benchmarks.remote import DeviceEntry
from export.backends import OnnxRuntime
from mlkd.core.labels import Labels
from mlkd.data import Split
from pipeline.report_facts import agreement
from pipeline.stages import bench, report
from tests.helpers import bundles

ENGINES = [bundles.engine(name, OnnxRuntime(), ("models/fp32.onnx",)) for name in ("shipped", "rebuilt", "absent")]


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    """Of two engines that ran, one as shipped, of one that did not, of a net in torch, and of another device."""
    measured = {"status": "measured", "reason": None, "end_to_end_ms": {"p50": 2.5}, "device": "here"}
    measured["map_from"] = {"device": "here", "instruction_set": "avx2"}
    absent = {"name": "absent", "status": "built, not run", "reason": "no GPU", "built_here": None, "device": "here"}
    there = measured | {"device": "pi", "end_to_end_ms": {"p50": 9.5}}
    return [
        {"name": "shipped", "built_here": False, **measured},
        {"name": "rebuilt", "built_here": True, **measured},
        absent | {"map_from": None},
        {"name": "student-torch", "built_here": False, **measured},
        {"name": "shipped", "built_here": False, **there},
        {"name": "absent", "built_here": False, **there},
    ]


def devices() -> list[dict[str, Any]]:
    machine = dict.fromkeys(("cpu", "architecture", "cores", "os", "gpus", "driver", "runtimes"), "some")
    return [{"name": "here", "machine": machine}, {"name": "pi", "machine": {}}]


def test_only_an_engine_as_shipped_gets_its_latency_here_into_the_manifest(rows: list[dict[str, Any]]) -> None:
    published = report._measured(bundles.manifest(*ENGINES), {"rows": rows, "devices": devices()})
    assert [engine.p50_ms for engine in published.engines] == [2.5, None, None]
    assert published.measured
    assert published.measured_on == devices()[0]["machine"]


def test_what_was_not_run_or_built_there_is_noted(rows: list[dict[str, Any]]) -> None:
    assert report._notes_on_rows(rows) == [
        "rebuilt on here: built there, not the bundle's own file",
        "absent on here: built, not run: no GPU",
    ]


def test_a_new_name_of_this_machine_is_everywhere(rows: list[dict[str, Any]]) -> None:
    facts = {"devices": devices(), "rows": rows}
    report._rename(facts, DeviceEntry(name="desk", power_mode="quiet"))
    assert [device["name"] for device in facts["devices"]] == ["desk", "pi"]
    assert facts["devices"][0]["power_mode"] == "quiet"
    assert [row["device"] for row in rows] == ["desk"] * 4 + ["pi"] * 2
    assert rows[4]["map_from"]["device"] == "desk", "the mAP of that row is from here"


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
    assert bench._checked([], Bench()) == (None, []), "only a thorough bench checks itself"
    found, notes = bench._checked([], Bench().thorough())
    assert found is None
    assert notes == ["The check against benchmark_app could not be made: benchmark_app: expected it, got none"]
