"""What a reader is told first: each problem with its numbers where it is there, and nothing where it is not."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.report import render, write_card
from benchmarks.report.devices import read_devices
from benchmarks.report.problems import better_student, last_gain, problems
from benchmarks.report.recommendation import budget_of
from benchmarks.report.rows import read_rows
from benchmarks.report.verdict import judge
from benchmarks.schema import Percentiles, read_report
from export.backends import OnnxRuntime
from tests.helpers import bundles


@pytest.fixture
def sound(bench: dict[str, Any]) -> dict[str, Any]:
    """The example with trainings that have come to an end."""
    for epochs in bench["training"].values():
        epochs[-1]["select_map"] = epochs[-2]["select_map"] + 0.004
    return bench


def told(bench: dict[str, Any]) -> list[str]:
    report = read_report({"schema": 3, **bench})
    rows, devices = read_rows(report.rows), read_devices(report.devices)
    found = problems(
        report, rows, judge(rows, [device for device in devices if device.measured], budget_of(report.search))
    )
    return [f"{problem.claim} {problem.numbers}" for problem in found]


def test_a_sound_run_has_none(sound: dict[str, Any], tmp_path: Path) -> None:
    assert told(sound) == []
    render(read_report(sound), tmp_path)
    for name in ("report.html", "report.md"):
        assert "Problem" not in (tmp_path / name).read_text(encoding="utf-8")


def test_what_the_audit_of_the_data_found_is_on_the_page_and_the_card(sound: dict[str, Any], tmp_path: Path) -> None:
    sound["findings"] = [{"claim": "Some labels have no image.", "numbers": "owl & hawk."}]
    assert told(sound) == ["Some labels have no image. owl & hawk."]
    render(read_report(sound), tmp_path)
    assert "<strong>Some labels have no image.</strong> owl &amp; hawk." in (tmp_path / "report.html").read_text()
    assert "**Problem: Some labels have no image.** owl &amp; hawk." in (tmp_path / "report.md").read_text()


def test_a_bench_that_knows_little_has_none() -> None:
    assert told({"rows": [], "devices": []}) == []
    unknown = {"teacher_gain": None, "low": None, "high": None, "difference": None}
    assert told({"rows": [], "devices": [], "distillation": unknown}) == []


@pytest.mark.parametrize(
    ("low", "high", "claim"),
    [
        (-0.004, 0.011, "not shown to be better than"),
        (0.0, 0.011, "not shown to be better than"),
        (-0.02, -0.004, "worse than"),
    ],
)
def test_a_teacher_that_did_not_help(sound: dict[str, Any], low: float, high: float, claim: str) -> None:
    sound["distillation"].update(low=low, high=high, difference=(low + high) / 2, baseline_map=0.5527)
    [problem] = told(sound)
    assert problem.startswith(f"The student is {claim} the same network trained without a teacher.")
    assert "mAP 55.6 with the teacher, 55.3 without; difference " in problem
    assert f"interval {100 * low:+.1f}".replace("+0.0", "0.0").replace("-", "−") in problem


@pytest.mark.parametrize(
    ("teacher", "low", "high", "claim"),
    [
        (0.57, -0.002, 0.03, "not shown to be better than"),
        (0.54, -0.03, -0.002, "worse than"),
        (0.5615, 0.002, 0.008, "hardly better than"),  # shown, but the student keeps 99 %
    ],
)
def test_a_teacher_near_its_student(sound: dict[str, Any], teacher: float, low: float, high: float, claim: str) -> None:
    gap = {"difference": teacher - 0.5562, "low": low, "high": high}
    sound["distillation"].update(teacher_map=teacher, teacher_gain=gap)
    [problem] = told(sound)
    assert problem.startswith(f"The teacher is {claim} its student. mAP {100 * teacher:.1f} for the teacher, 55.6 for")
    assert f"{100 * high:+.1f}".replace("-", "−") in problem
    assert "Train the teacher longer" in problem
    sound["distillation"]["baseline_map"] = teacher + 0.01
    advice = f"Without a teacher the student has {100 * teacher + 1:.1f}: if the teacher is a network of your own"
    assert advice in told(sound)[-1]


def test_engines_of_the_bundle_that_fail(sound: dict[str, Any], tmp_path: Path) -> None:
    """They are named; one whose runtime is missing, and other students', are no problem of the bundle."""
    rows = {row["name"]: row for row in sound["rows"]}
    reason = "wrong tags on this machine: expected the scores of its self-test within 0.25 (mean 0.015)"
    rows["onnxruntime-int8"].update(status="failed", reason=reason)
    other = {**rows["onnxruntime-int8"], "name": "knee-int8", "model": "knee"}
    sound["rows"].append(other)
    assert told(sound) == [f"1 engine of the bundle cannot be used on this machine. onnxruntime-int8: {reason}."]
    render(read_report(sound), tmp_path)
    assert "1 engine of the bundle cannot be used" in (tmp_path / "report.md").read_text(encoding="utf-8")


def curve(bench: dict[str, Any], net: str, *values: float) -> None:
    bench["training"][net] = [{"epoch": at + 1, "select_map": value} for at, value in enumerate(values)]


def test_training_that_ended_too_early(sound: dict[str, Any]) -> None:
    curve(sound, "student", 0.473, 0.505)
    assert told(sound) == [
        "mAP was still rising at the last epoch. "
        "On the validation split select: student 47.3 → 50.5 (about +3.2 an epoch). Train longer."
    ]
    curve(sound, "teacher", 0.486, 0.564, 0.576)
    assert told(sound)[0].endswith("+3.2 an epoch), teacher 56.4 → 57.6 (about +1.2 an epoch). Train longer.")
    curve(sound, "baseline", 0.3, 0.4)  # trained as long as the student: no word of its own
    assert "baseline" not in told(sound)[0]


@pytest.mark.parametrize(
    ("values", "gain"),
    [
        ((), None),
        ((0.4,), None),
        ((0.418, 0.473, 0.500, 0.503), None),  # a falling learning rate had its effect
        ((0.40, 0.50, 0.52, 0.535), 0.015),
        ((0.40, 0.52, 0.51, 0.53), None),  # as much as it fell before: noise
        ((0.40, 0.52, 0.51, 0.535), 0.015),  # of the best one before, not of the last
        ((0.50, 0.40, 0.45, 0.49, 0.51, 0.53), 0.02),  # a fall at the start is no noise at the end
        ((0.40, 0.50, 0.53, 0.52), None),
    ],
)
def test_what_the_last_epoch_added(values: tuple[float, ...], gain: float | None) -> None:
    assert last_gain(values) == pytest.approx(gain)


@pytest.mark.parametrize("epochs", [3, 5, 10, 30])
def test_noise_alone_rarely_looks_like_a_rising_curve(epochs: int) -> None:
    """Simulated: flat curves, and curves that rise by a point and a half an epoch, with 0.3 points of noise."""
    noise = 0.003 * np.random.default_rng(0).standard_normal((2000, epochs))
    flat = [last_gain((0.5 + row).tolist()) is not None for row in noise]
    rising = [last_gain((0.4 + 0.015 * np.arange(epochs) + row).tolist()) is not None for row in noise]
    assert np.mean(flat) <= 0.06
    assert np.mean(rising) >= 0.95


@pytest.mark.parametrize(
    ("p90", "accuracy", "beaten"),
    [
        (4.2, 0.59, True),  # as fast, and better
        (4.5, 0.59, True),  # times of one engine differ by so much
        (4.7, 0.59, False),  # better, but slower
        (2.0, 0.5562, True),  # faster, and as good
        (4.1, 0.5562, False),  # as fast and as good: nothing is lost
        (2.0, 0.50, False),  # faster, but worse
    ],
)
def test_a_reference_that_beats_the_recommended_engine(
    sound: dict[str, Any], p90: float, accuracy: float, beaten: bool
) -> None:
    teacher = next(row for row in sound["rows"] if row["name"] == "teacher-torch")
    teacher["end_to_end_ms"]["p90"] = p90
    teacher.update(map=accuracy, map_low=accuracy - 0.01, map_high=accuracy + 0.01)
    wanted = [
        "A reference beats the recommended engine on this machine. "
        f"teacher-torch {100 * accuracy:.1f} mAP in {p90:.2f} ms (p90); "
        "recommended: openvino-int8 55.4 mAP in 4.17 ms (p90)."
    ]
    assert told(sound) == (wanted if beaten else [])


@pytest.mark.parametrize("low", [0.007, -0.001])
def test_a_student_without_a_teacher_that_is_shown_to_be_worse_beats_nothing(sound: dict[str, Any], low: float) -> None:
    sound["rows"][-1].update(model="baseline", name="baseline-torch")
    sound["rows"][-1]["end_to_end_ms"]["p90"] = 2.0
    sound["distillation"]["low"] = low
    assert any("baseline-torch" in problem for problem in told(sound)) is (low < 0)


def test_the_most_important_comes_first_and_before_all_cards(sound: dict[str, Any], tmp_path: Path) -> None:
    sound["distillation"].update(low=-0.01, teacher_gain={"difference": 0.0, "low": -0.01, "high": 0.01})
    curve(sound, "student", 0.473, 0.505)
    sound["rows"][-1]["end_to_end_ms"]["p90"] = 2.0
    claims = ["The student is not", "The teacher is not", "mAP was still", "A reference beats"]
    assert all(one.startswith(claim) for one, claim in zip(told(sound), claims, strict=True))
    render(read_report(sound), tmp_path)
    write_card(
        bundles.manifest(bundles.engine("openvino-int8", OnnxRuntime(), ("models/fp32.onnx",))),
        read_report(sound),
        tmp_path / "card.md",
    )
    for name, after in (
        ("report.html", "Which engine?"),
        ("report.md", "Which engine?"),
        ("card.md", "What it is for"),
    ):
        text = (tmp_path / name).read_text(encoding="utf-8")
        at = [text.index(part) for part in (*claims, after)]
        assert all(one < two for one, two in itertools.pairwise(at)), name


def test_another_student_that_is_faster_and_as_good(sound: dict[str, Any]) -> None:
    """A slower one, or one that tags worse, is none."""
    report = read_report(sound)
    verdict = judge(read_rows(report.rows), read_devices(report.devices)[:1], budget_of(None))[0]
    assert verdict.chosen is not None
    slow = replace(verdict.chosen, name="slow-int8", model="slow", end_to_end_ms=Percentiles(p90=99.0))
    worse = {"map": 0.1, "map_low": 0.05, "map_high": 0.15, "vs_student_low": -0.6, "vs_student_high": -0.5}
    bad = replace(verdict.chosen, name="bad-int8", model="bad", end_to_end_ms=Percentiles(p90=0.01), **worse)
    others = [slow, bad]
    assert better_student([verdict.chosen, *others], verdict.chosen) is None
    found = better_student(
        [*others, replace(verdict.chosen, name="knee-int8", model="knee", end_to_end_ms=Percentiles(p90=0.02))],
        verdict.chosen,
    )
    assert found is not None
    assert found.claim == "Another student of the search is faster and tags as well: knee."
    assert found.numbers.startswith("knee-int8 takes 0.020 ms, ")
