"""Direct labels and axes."""

import copy
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.report.placement import Rect, _inside, place
from benchmarks.report.scale import Scale, linear_ticks, log_ticks
from benchmarks.report.scatter import INNER, MOST_LABELS, Scatter

Draw = Callable[..., Scatter]


def apart(a: Rect, b: Rect) -> bool:
    return a.right <= b.left or b.right <= a.left or a.bottom <= b.top or b.bottom <= a.top


@pytest.mark.parametrize(("width", "height"), [(1040, 500), (380, 480)])
def test_labels_of_the_chart_cover_neither_each_other_nor_a_point(
    draw: Draw, bench: dict[str, Any], width: int, height: int
) -> None:
    drawing = draw(bench, width, height)
    assert len(drawing.marks) == 7  # five engines and two references ran
    labelled = [mark for mark in drawing.marks if mark.label is not None]
    assert len(labelled) == min(7, MOST_LABELS[width < 600])
    for a, b in itertools.combinations(labelled, 2):
        assert apart(a.label, b.label), (a.text, b.text)
    for a, b in itertools.product(labelled, drawing.marks):
        assert apart(a.label, Rect(b.x - 5, b.y - 5, b.x + 5, b.y + 5)), (a.text, b.text)
    frame = drawing.frame
    for mark in labelled:
        assert frame.left <= mark.label.left < mark.label.right <= frame.right
        assert frame.top <= mark.label.top < mark.label.bottom <= frame.bottom


@pytest.mark.parametrize(
    ("precision", "compute", "shape"),
    [
        ("fp32", "bf16", "bf16"),
        ("int8_x86", "as in the graph", "int8"),
        ("int8_openvino", "int8", "int8"),
        ("fp16", None, "fp16"),
        ("fp32", "f32", "fp32"),
    ],
)
def test_shape_tells_what_was_computed(
    draw: Draw, bench: dict[str, Any], precision: str, compute: str | None, shape: str
) -> None:
    bench["rows"][0].update(precision=precision, compute=compute)
    drawing = draw(bench)
    assert next(mark.shape for mark in drawing.marks if mark.row.at == 0) == shape


def test_devices_are_told_apart_without_colour(draw: Draw, fleet: dict[str, Any]) -> None:
    drawing = draw(fleet, chosen=("openvino-int8",))
    assert {(mark.row.device, mark.inner) for mark in drawing.marks} == {("this machine", ""), ("board", INNER[1])}
    assert [front.dashes for front in drawing.fronts] == ["", "7 4"]
    assert {mark.text for mark in drawing.marks if mark.chosen} == {"A openvino-int8", "B openvino-int8"}
    assert all(mark.label is not None for mark in drawing.marks if mark.chosen)


def test_the_engine_to_ship_lies_on_top_and_has_its_name_beside_it(draw: Draw, bench: dict[str, Any]) -> None:
    for row in bench["rows"]:
        if row["status"] == "measured":
            row["map"], row["end_to_end_ms"]["p90"] = 0.5, 12.0 if row["name"] == "teacher-torch" else 1.0
    drawing = draw(bench, chosen=("openvino-int8",))
    assert [mark.chosen for mark in drawing.marks] == [False] * 6 + [True]
    assert [mark.row.engine for mark in drawing.marks] == [False] * 2 + [True] * 5
    assert min(mark.x for mark in drawing.marks) > drawing.frame.left + 130  # pixels: room for a name


@pytest.mark.parametrize(("width", "height"), [(1040, 500), (380, 480)])
def test_equal_latencies_have_an_axis(draw: Draw, bench: dict[str, Any], width: int, height: int) -> None:
    for row in bench["rows"]:
        if row["status"] == "measured":
            row["end_to_end_ms"]["p90"] = 1.0
    drawing = draw(bench, width, height)
    assert drawing.x.high / drawing.x.low == pytest.approx(2)
    assert len(drawing.x_ticks) >= 2
    assert drawing.frame.left < drawing.marks[0].x < drawing.frame.right


def test_few_references_are_named_where_room_is_short(draw: Draw, bench: dict[str, Any]) -> None:
    for row in copy.deepcopy(bench["rows"][8:10]):
        bench["rows"] += [{**row, "name": f"{row['name']}-{i}"} for i in range(3)]
    drawings = (draw(bench), draw(bench, 380, 480))
    named = [[mark.row for mark in drawing.marks if mark.label is not None] for drawing in drawings]
    assert sorted(row.name for row in named[0] if not row.engine) == ["student-torch", "teacher-torch"]
    assert sum(row.engine for row in named[0]) == 5
    assert [row.engine for row in named[1]] == [True] * MOST_LABELS[True]  # no teacher out of torch


def test_a_map_from_elsewhere_is_marked(draw: Draw, bench: dict[str, Any]) -> None:
    bench["rows"][0]["map_from"]["device"] = "another"
    drawing = draw(bench)
    assert [mark.text for mark in drawing.marks if "†" in mark.text] == ["onnxruntime-fp32 †"]


def test_labels_of_equal_points_do_not_overlap() -> None:
    found = place([(300.0, 200.0)] * 6, ["openvino-int8"] * 6, [], Rect(0, 0, 600, 400), 12)
    assert all(apart(a, b) for a, b in itertools.combinations(found, 2))


def test_a_label_keeps_off_the_line_of_another() -> None:
    walls = [Rect(100, 120, 200, 400), Rect(400, 120, 500, 400)]  # leave no room for a wide label but above them
    frame, spots = Rect(0, 0, 600, 400), [(300.0, 200.0), (270.0, 170.0)]
    (free,) = place(spots[1:], ["short"], walls, frame, 12)
    assert free.left > 270
    far, beside = place(spots, ["long" * 10, "short"], walls, frame, 12)
    assert far.bottom < 120
    assert beside.right < 270


@given(*[st.floats(-20, 20)] * 4)
def test_the_part_of_a_line_inside_a_rectangle(x: float, y: float, to_x: float, to_y: float) -> None:
    """Against points along the line."""
    across, down = np.linspace(x, to_x, 4001), np.linspace(y, to_y, 4001)
    share = ((across > -5) & (across < 5) & (down > -3) & (down < 8)).mean()
    length = _inside(np.array([[x, y, to_x, to_y]]), np.array([[-5.0, -3.0, 5.0, 8.0]])).item()
    assert length == pytest.approx(share * math.dist((x, y), (to_x, to_y)), abs=0.05)


def test_latency_axis_is_logarithmic_and_accuracy_axis_points_up(draw: Draw, bench: dict[str, Any]) -> None:
    drawing = draw(bench)
    at = {mark.row.name: mark for mark in drawing.marks}
    assert at["openvino-int8"].x < at["openvino-fp32"].x < at["teacher-torch"].x
    assert at["teacher-torch"].y < at["student-torch"].y
    scale = Scale(1.0, 100.0, 0.0, 200.0, log=True)
    assert scale.ticks(3) == [(0.0, "1"), (100.0, "10"), (200.0, "100")]


@given(st.floats(0.001, 1e4), st.floats(1.2, 500.0))
def test_log_ticks_are_inside_and_enough_to_read_the_scale(low: float, ratio: float) -> None:
    ticks = log_ticks(low, low * ratio, 9)
    assert 1 <= len(ticks) <= 9
    assert all(low <= tick <= low * ratio for tick in ticks)


def test_linear_ticks_by_hand() -> None:
    assert linear_ticks(52.6, 62.4, 6) == [54.0, 56.0, 58.0, 60.0, 62.0]
