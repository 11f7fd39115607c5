"""Which engine is chosen and what is claimed about it."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.report.rows import read_rows
from benchmarks.report.tags import int8_row, read_tags
from benchmarks.report.verdict import Verdict, judge


def verdict(bench: dict[str, Any]) -> Verdict:
    rows = read_rows(bench)
    int8 = int8_row(rows, None)
    return judge(bench, rows, read_tags(bench, int8), int8)


def card(found: Verdict, question: str) -> str:
    return next(f"{card.answer}; {'; '.join(card.lines)}" for card in found.cards if card.question == question)


def test_the_fastest_within_one_percent_is_chosen(bench: dict[str, Any]) -> None:
    assert verdict(bench).chosen.name == "openvino-int8"  # type: ignore[union-attr]
    assert verdict(bench).floor == pytest.approx(0.99 * 0.5562)
    bench["rows"][4]["map"] = 0.99 * 0.5562 - 1e-6
    assert verdict(bench).chosen.name == "openvino-bf16"  # type: ignore[union-attr]


def test_a_reference_raises_the_bar_but_is_never_chosen(bench: dict[str, Any]) -> None:
    student = bench["rows"][-1]
    student["end_to_end_ms"]["p90"] = 0.1
    assert verdict(bench).chosen.name == "openvino-int8"  # type: ignore[union-attr]
    student["map"] = 0.9
    assert verdict(bench).chosen is None
    assert "99 % of the best student mAP (90.0)" in card(verdict(bench), "Which engine?")


@pytest.mark.parametrize(
    ("low", "high", "claim"),
    [(0.001, 0.03, "distilling helps"), (-0.01, 0.03, "no difference shown"), (-0.03, -0.01, "distilling hurts")],
)
def test_distillation_claims_no_more_than_its_interval(
    bench: dict[str, Any], low: float, high: float, claim: str
) -> None:
    bench["distillation"].update(low=low, high=high)
    assert claim in card(verdict(bench), "Did the teacher help?")


def test_worst_tags_come_first(bench: dict[str, Any]) -> None:
    turtle = bench["labels"].index("turtle")
    bench["distillation"]["labels"][turtle]["teacher"] = 0.9
    bench["rows"][4]["ap"][turtle] = 0.1
    assert card(verdict(bench), "Which tags pay?").startswith("turtle, ")
    assert "AP −80.0" in card(verdict(bench), "Which tags pay?")


def test_a_label_without_positives_comes_last_and_is_not_judged(bench: dict[str, Any]) -> None:
    bench["distillation"]["labels"][0].update(teacher=None, student=None)
    rows = read_rows(bench)
    tags = read_tags(bench, int8_row(rows, None))
    assert tags[-1].label == bench["labels"][0]
    assert tags[-1].loss is None


def test_unstable_timing_of_the_chosen_engine_is_said(bench: dict[str, Any]) -> None:
    bench["rows"][4].update(unstable=True, spread=0.21, settled=False)
    said = card(verdict(bench), "Which engine?")
    assert "unstable (processes differ by 21 %)" in said
    assert "unsettled" in said
