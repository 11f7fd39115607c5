"""The chart for slides: the page's points, always the same bytes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from benchmarks.report import render
from benchmarks.report.devices import read_devices
from benchmarks.report.rows import read_rows
from benchmarks.report.scatter import scatter
from benchmarks.report.slides import HEIGHT, HUES, WIDTH, drawn, signs
from benchmarks.schema import read_report


def test_same_facts_give_the_same_bytes(fleet: dict[str, Any], tmp_path: Path) -> None:
    for name in ("a", "b"):
        render(read_report(fleet), tmp_path / name)
    for name in ("chart.svg", "chart.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert not re.search(r"dc:date|\d{4}-\d\d-\d\d", (tmp_path / "a" / "chart.svg").read_text(encoding="utf-8"))


def test_points_lie_where_the_page_has_them(bench: dict[str, Any], tmp_path: Path) -> None:
    render(read_report(bench), tmp_path)
    drawing = scatter(
        read_rows(read_report(bench).rows), read_devices(read_report(bench).devices), [], WIDTH, HEIGHT - 40
    )
    assert drawing is not None
    with Image.open(tmp_path / "chart.png") as opened:
        pixels = np.asarray(opened.convert("RGB"))
    factor = pixels.shape[1] / WIDTH
    for mark in drawing.marks:
        if mark.row.engine:
            found = pixels[round((mark.y + 40) * factor), round(mark.x * factor)]
            assert found.tolist() == [int(HUES[mark.hue][at : at + 2], 16) for at in (1, 3, 5)], mark.text


def test_hostile_names_are_drawn_as_text(bench: dict[str, Any], tmp_path: Path) -> None:
    name = '<script>alert(1)</script> $\\frac{1}{0}$ 画 "&'
    bench["rows"][4]["name"] = bench["recipe"] = bench["devices"][0]["name"] = name
    for row in bench["rows"]:
        row["device"] = name
    render(read_report(bench), tmp_path)
    text = (tmp_path / "chart.svg").read_text(encoding="utf-8")
    assert "<script" not in text
    ElementTree.fromstring(text)  # well-formed
    assert drawn("a\n画 $x$") == "a □ $x$"


def test_signs_that_occur_are_explained(bench: dict[str, Any]) -> None:
    bench["rows"][1]["unstable"] = False
    plain = scatter(read_rows(read_report(bench).rows), read_devices(read_report(bench).devices), [], WIDTH, HEIGHT)
    assert plain is not None
    assert signs(plain) == ""
    bench["rows"][0].update(settled=False, map_from={"device": "another"})
    rows = read_rows(read_report(bench).rows)
    full = scatter(rows, read_devices(read_report(bench).devices), rows[:1], WIDTH, HEIGHT)
    assert full is not None
    told = "ring and bold: to ship   ~ timing unstable or unsettled   † mAP measured on another device"
    assert signs(full) == told


def test_nothing_to_plot_still_gives_a_chart(bench: dict[str, Any], tmp_path: Path) -> None:
    bench["rows"] = []
    render(read_report(bench), tmp_path)
    assert (tmp_path / "chart.svg").is_file()
    assert (tmp_path / "chart.png").is_file()
