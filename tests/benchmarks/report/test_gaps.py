"""Numbers that cannot be drawn leave a named gap on the page, whatever they are and wherever they stand."""

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.accuracy import ReferenceScores, Truth, measure_accuracy
from benchmarks.parsing import to_json
from benchmarks.report import render
from benchmarks.report.gaps import draw_or_name
from benchmarks.report.render import _view
from benchmarks.report.scatter import Scatter
from benchmarks.schema import read_report

FINITE = [-0.5, 0.0, 5e-324, 1.7e308]
NUMBERS = [math.nan, math.inf, -math.inf, None, *FINITE]
PLACES = {  # what the type of a place allows
    **{("rows", 4, *place.split(".")): NUMBERS for place in ("map", "map_low", "map_high", "end_to_end_ms.p90")},
    ("rows", 4, "parts_ms", "infer"): NUMBERS,
    ("rows", 4, "end_to_end_ms"): [None],
    ("rows", 4, "histogram", "edges_ms", 0): FINITE,
    ("rows", 4, "histogram", "edges_ms"): [[], None],
    ("rows", 4, "histogram", "counts", 1): [-1, 0, 10**300],
    ("rows", 4, "histogram", "counts"): [[], None],
    ("rows", 4, "throughput", "images_per_second"): FINITE,
    ("training", "student", 0, "select_map"): [*NUMBERS, []],
    ("training", "student", 0, "epoch"): [*NUMBERS, []],
    **{("freezing", "parity", 0, key): [*NUMBERS, []] for key in ("low", "delta_map", "high")},
    ("freezing", "float_map"): [*NUMBERS, []],
}


def put(facts: Any, place: tuple[Any, ...], value: Any) -> None:
    for key in place[:-1]:
        facts = facts[key]
    facts[place[-1]] = value


@pytest.mark.parametrize("place", PLACES, ids=lambda place: ".".join(map(str, place)))
def test_no_number_stops_the_drawings(bench: dict[str, Any], place: tuple[Any, ...]) -> None:
    bench |= {"images": {}, "grid": [], "mistakes": None}
    for value in PLACES[place]:
        changed = copy.deepcopy(bench)
        put(changed, place, value)
        view = _view(read_report(changed))
        for _, drawing in view["charts"]:
            assert drawing or view["gaps"], value
            for mark in drawing.marks if drawing else ():
                ends = mark.bar or (mark.y, mark.y)
                assert math.isfinite(mark.x)
                assert ends[0] <= mark.y <= ends[1]


def test_a_page_full_of_bad_numbers_is_written(bench: dict[str, Any], tmp_path: Path) -> None:
    for place, values in PLACES.items():
        if place[-1] not in ("end_to_end_ms", "edges_ms", "counts"):
            put(bench, place, values[-1] or 1.7e308)
    render(read_report(bench), tmp_path)
    assert {"report.html", "report.md", "report.json", "chart.svg", "chart.png"} <= {
        file.name for file in tmp_path.iterdir()
    }


def test_an_interval_that_does_not_contain_its_map_is_named(
    bench: dict[str, Any], draw: Callable[..., Scatter], tmp_path: Path
) -> None:
    bench["rows"][4].update(map=0.0635, map_low=0.0661, map_high=0.0796)
    render(read_report(bench), tmp_path)
    for name in ("report.html", "report.md"):
        assert "interval of openvino-int8 is not drawn: 6.6" in (tmp_path / name).read_text(encoding="utf-8")
    assert {mark.row.name: mark.bar is None for mark in draw(bench).marks}["openvino-int8"]


def test_a_plot_that_fails_is_named_with_its_cause() -> None:
    gaps: list[str] = []
    assert draw_or_name("the chart", lambda: 1 / 0, None, gaps) is None
    assert draw_or_name("the other", lambda: 3, None, gaps) == 3
    assert gaps == ["the chart is not drawn: division by zero"]


def test_a_long_tail_reaches_the_page(bench: dict[str, Any], tmp_path: Path) -> None:
    """800 images, 80 labels of prevalence 0.5 to 0.003, a weak student: every mAP lies in its interval and is drawn."""
    rng = np.random.default_rng(4)
    prevalence = np.geomspace(0.003, 0.5, 80)
    targets = (rng.random((800, 80)) < prevalence).astype(np.uint8)
    noise = rng.standard_normal((800, 80))
    names = [f"label {at}" for at in range(80)]
    truth = Truth(files=[Path(f"{at}.jpg") for at in range(800)], targets=targets, groups=list(range(800)))
    halves = np.full(80, 0.5, np.float32)
    reference = ReferenceScores(scores_of(noise + 0.4 * targets), halves)
    logits = [noise + 0.4 * targets + 0.05 * rng.standard_normal((800, 80)) for _ in range(2)]
    found = [measure_accuracy(scores_of(at), truth, halves, labels=names, reference=reference) for at in logits]
    for at, row in enumerate(bench["rows"]):
        if row["status"] == "measured":
            row.update(to_json(found[at % 2]))
            assert row["map_low"] < row["map"] < row["map_high"]
            assert row["delta_low"] < row["delta_map"] < row["delta_high"]
    bench["labels"] = names
    bench["distillation"]["labels"] = [
        {"label": name, "positives": int(count), "teacher": 0.1, "student": None, "baseline": 0.05}
        for name, count in zip(names, targets.sum(0), strict=True)
    ]
    bench["grid"] = []
    render(read_report(bench), tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "not drawn" not in page
    assert page.count('class="error"') >= 7  # an interval for each measured row
    assert "label 79" in page


def scores_of(logits: np.ndarray) -> np.ndarray:
    return (1 / (1 + np.exp(3 - logits))).astype(np.float32)
