"""Direct labels and axes."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.report.placement import Rect, place
from benchmarks.report.rows import read_rows
from benchmarks.report.scale import Scale, linear_ticks, log_ticks
from benchmarks.report.scatter import SHAPES, scatter


@pytest.mark.parametrize(("width", "height"), [(1040, 500), (380, 480)])
def test_labels_of_the_chart_cover_neither_each_other_nor_a_point(
    bench: dict[str, Any], width: int, height: int
) -> None:
    drawing = scatter(read_rows(bench), None, None, width, height)
    assert drawing is not None
    assert len(drawing.marks) == 7  # five engines and two references ran
    for a, b in itertools.combinations(drawing.marks, 2):
        assert a.label.overlap(b.label) == 0, (a.text, b.text)
    for a, b in itertools.product(drawing.marks, repeat=2):
        assert a.label.overlap(Rect(b.x - 5, b.y - 5, b.x + 5, b.y + 5)) == 0, (a.text, b.text)
    assert all(mark.label.outside(drawing.frame) == 0 for mark in drawing.marks)


@pytest.mark.parametrize(
    ("precision", "compute", "shape"),
    [
        ("fp32", "bf16", "diamond"),
        ("int8_x86", "as in the graph", "triangle"),
        ("int8_openvino", "int8", "triangle"),
        ("fp16", None, "square"),
        ("fp32", "f32", "circle"),
    ],
)
def test_shape_tells_what_was_computed(bench: dict[str, Any], precision: str, compute: str | None, shape: str) -> None:
    bench["rows"][0].update(precision=precision, compute=compute)
    drawing = scatter(read_rows(bench), None, None, 1040, 500)
    assert drawing is not None
    assert next(mark.path for mark in drawing.marks if mark.row.at == 0) == SHAPES[shape]


def test_labels_of_equal_points_do_not_overlap() -> None:
    found = place([(300.0, 200.0)] * 6, ["openvino-int8"] * 6, [], Rect(0, 0, 600, 400), 12)
    assert all(a.overlap(b) == 0 for a, b in itertools.combinations(found, 2))


def test_latency_axis_is_logarithmic_and_accuracy_axis_points_up(bench: dict[str, Any]) -> None:
    drawing = scatter(read_rows(bench), None, None, 1040, 500)
    assert drawing is not None
    at = {mark.row.name: mark for mark in drawing.marks}
    assert at["openvino-int8"].x < at["openvino-fp32"].x < at["teacher-torch"].x
    assert at["teacher-torch"].y < at["student-torch"].y
    scale = Scale(1.0, 100.0, 0.0, 200.0, log=True)
    assert [scale(1.0), scale(10.0), scale(100.0)] == [0.0, 100.0, 200.0]


@given(st.floats(0.001, 1e4), st.floats(1.2, 500.0))
def test_log_ticks_are_inside_and_enough_to_read_the_scale(low: float, ratio: float) -> None:
    ticks = log_ticks(low, low * ratio)
    assert 1 <= len(ticks) <= 9
    assert all(low <= tick <= low * ratio for tick in ticks)


def test_linear_ticks_by_hand() -> None:
    assert linear_ticks(52.6, 62.4) == [54.0, 56.0, 58.0, 60.0, 62.0]
