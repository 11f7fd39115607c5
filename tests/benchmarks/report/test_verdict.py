"""Which engine is chosen and what is claimed about it."""

from typing import Any

import pytest

from benchmarks.report.cards import answer
from benchmarks.report.devices import read_devices
from benchmarks.report.labels import int8_row, read_tags
from benchmarks.report.recommendation import budget_of
from benchmarks.report.rows import read_rows
from benchmarks.report.verdict import judge
from benchmarks.schema import read_report


def cards(bench: dict[str, Any]) -> dict[str, str]:
    """Question -> what is answered, as one line."""
    rows = read_rows(read_report(bench).rows)
    int8 = int8_row(rows, None)
    report = read_report(bench)
    devices = [device for device in read_devices(report.devices) if device.measured]
    verdicts = judge(rows, devices, budget_of(report.search))
    found = answer(report, rows, verdicts, read_tags(report, int8, {}), int8)
    return {card.question: "; ".join([card.answer, *card.lines]) for card in found}


def test_a_reference_is_never_chosen_and_raises_no_bar(bench: dict[str, Any]) -> None:
    bench["rows"][-1]["end_to_end_ms"]["p90"] = 0.1
    bench["rows"][-1]["map"] = 0.9
    assert cards(bench)["Which engine?"].startswith("openvino-int8; 4.17 ms end to end (p90), 1 thread")


def test_without_intervals_no_claim_is_made_of_map(bench: dict[str, Any]) -> None:
    for row in bench["rows"]:
        row |= dict.fromkeys(("map_low", "map_high", "delta_low", "delta_high", "vs_student_low", "vs_student_high"))
    bench["distillation"] |= {"low": None, "high": None}
    answered = cards(bench)
    assert "fastest; there are too few test images to compare mAP" in answered["Which engine?"]
    assert "too few test images for an interval: nothing is shown" in answered["Did the teacher help?"]
    assert "interval contains" not in "".join(answered.values())


def test_every_device_has_its_engine(fleet: dict[str, Any]) -> None:
    told = cards(fleet)["Which engine?"]
    assert "on this machine" in told
    assert told.endswith("on board: openvino-int8, 27.1 ms")
    for row in fleet["rows"]:
        if row["device"] == "board":
            row |= {"unstable": True, "spread": 0.345}
    told = cards(fleet)["Which engine?"]
    assert told.endswith("on board: openvino-int8, 27.1 ms, unstable (its times differ by 34 %)")


def test_where_the_map_of_the_chosen_engine_comes_from_is_said(fleet: dict[str, Any]) -> None:
    assert "mAP from" not in cards(fleet)["Which engine?"]
    fleet["rows"][4]["map_from"]["device"] = "board"
    assert "mAP from board (avx512_vnni)" in cards(fleet)["Which engine?"]


def test_latency_at_equal_map(bench: dict[str, Any]) -> None:
    told = cards(bench)["Latency at equal mAP?"]
    assert told.startswith(
        "4.4× as fast as any reference with this mAP; 4.4× as long: student-torch, 18.4 ms, +0.2 points"
    )
    bench["rows"][-1]["map"] = 0.5538 - 0.0111  # just below the interval of the chosen engine
    assert cards(bench)["Latency at equal mAP?"].startswith("11× the time buys +5.0 points")
    bench["rows"][-2]["map"] = 0.3
    assert cards(bench)["Latency at equal mAP?"].startswith("nothing else is as good")


def test_a_rival_is_told_from_the_engine_by_paired_intervals(bench: dict[str, Any]) -> None:
    chosen, rival = bench["rows"][4], bench["rows"][-2]
    chosen.update(delta_low=-0.004, delta_high=-0.001)
    rival.update(map=0.545, vs_student_low=-0.014, vs_student_high=-0.008)  # teacher-torch, within the interval of mAP
    assert "teacher-torch" not in cards(bench)["Latency at equal mAP?"]
    rival["vs_student_high"] = -0.003
    assert "teacher-torch" in cards(bench)["Latency at equal mAP?"]


@pytest.mark.parametrize(
    ("p90", "claim"),
    [(4.3, "student-torch is as fast, +0.2 points"), (2.0, "student-torch is 2.1× as fast, +0.2 points")],
)
def test_a_reference_that_is_as_good_and_as_fast_is_named(bench: dict[str, Any], p90: float, claim: str) -> None:
    bench["rows"][-1]["end_to_end_ms"]["p90"] = p90
    assert cards(bench)["Latency at equal mAP?"].startswith(claim)


def test_references_of_another_device_are_no_rivals(fleet: dict[str, Any]) -> None:
    for row in fleet["rows"]:
        if row["kind"] == "reference":
            row["device"] = "board"
    assert "Latency at equal mAP?" not in cards(fleet)


@pytest.mark.parametrize(
    ("low", "high", "claim"),
    [
        (0.001, 0.03, "this student tags better than this baseline"),
        (-0.01, 0.03, "no difference between these two students is shown"),
        (-0.03, -0.01, "this student tags worse than this baseline"),
    ],
)
def test_distillation_claims_no_more_than_its_interval(
    bench: dict[str, Any], low: float, high: float, claim: str
) -> None:
    bench["distillation"].update(low=low, high=high)
    assert claim in cards(bench)["Did the teacher help?"]


def test_worst_tags_come_first(bench: dict[str, Any]) -> None:
    turtle = bench["labels"].index("turtle")
    bench["distillation"]["labels"][turtle]["teacher"] = 0.9
    bench["rows"][4]["ap"][turtle] = 0.1
    assert cards(bench)["Which tags pay?"].startswith("turtle, ")
    assert "AP −80.0" in cards(bench)["Which tags pay?"]


def test_a_label_without_positives_comes_last_and_is_not_judged(bench: dict[str, Any]) -> None:
    bench["distillation"]["labels"][0].update(teacher=None, student=None)
    rows = read_rows(read_report(bench).rows)
    tags = read_tags(read_report(bench), int8_row(rows, None), {})
    assert tags[-1].label == bench["labels"][0]
    assert tags[-1].loss is None


def test_unstable_timing_of_the_chosen_engine_is_said(bench: dict[str, Any]) -> None:
    bench["rows"][4].update(unstable=True, spread=0.21, settled=False)
    said = cards(bench)["Which engine?"]
    assert "unstable (its times differ by 21 %)" in said
    assert "unsettled" in said


@pytest.mark.parametrize(("low", "beaten"), [(0.007, True), (-0.001, False), (None, False)])
def test_a_student_without_a_teacher_that_is_shown_to_be_worse_is_no_rival(
    bench: dict[str, Any], low: float | None, beaten: bool
) -> None:
    """By the paired difference, which is narrower than the intervals of the two."""
    bench["rows"][-1] |= {"model": "baseline", "name": "baseline-torch"}
    bench["distillation"] = {**bench["distillation"], "low": low}
    told = cards(bench)["Latency at equal mAP?"]
    assert ("baseline-torch" not in told) is ("without a teacher tags worse" in told) is beaten
