"""The chart for slides: the page's drawing, always the same bytes."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import resvg_py
from PIL import Image

from benchmarks.report import render
from benchmarks.report.scatter import Scatter
from benchmarks.report.slides import PNG_ZOOM, rasterize, signs
from benchmarks.schema import read_report

COLOURS = {"openvino": (0x00, 0x72, 0xB2), "onnxruntime": (0xC6, 0x5A, 0x00)}


def drawn(bench: dict[str, Any], out: Path) -> tuple[str, bytes]:
    render(read_report(bench), out)
    return (out / "chart.svg").read_text(encoding="utf-8"), (out / "chart.png").read_bytes()


def test_same_facts_give_the_same_bytes_with_every_point_in_its_colour(fleet: dict[str, Any], tmp_path: Path) -> None:
    svg, png = drawn(fleet, tmp_path / "a")
    assert (svg, png) == drawn(fleet, tmp_path / "b")
    top = float(re.findall(r'<g transform="translate\(0 ([\d.]+)\)">', svg)[0])
    marks = re.findall(r'data-row="(\d+)" data-x="([\d.]+)" data-y="([\d.]+)"', svg)
    with Image.open(tmp_path / "a" / "chart.png") as opened:
        pixels = np.asarray(opened.convert("RGB"))
    assert len(marks) == sum(row["status"] == "measured" for row in fleet["rows"])
    for at, x, y in marks:
        row = fleet["rows"][int(at)]
        if row["kind"] == "engine":
            spot = round((float(y) + top + 3.5) * PNG_ZOOM), round(float(x) * PNG_ZOOM)  # below a device's sign
            assert tuple(pixels[spot]) == COLOURS[row["name"].split("-")[0]], row["name"]


def test_hostile_names_are_drawn_as_text(bench: dict[str, Any], tmp_path: Path) -> None:
    name = '<script>alert(1)</script> $\\frac{1}{0}$ 画 "&\x07'
    bench["rows"][4]["name"] = bench["recipe"] = bench["devices"][0]["name"] = name
    for row in bench["rows"]:
        row["device"] = name
    svg, _ = drawn(bench, tmp_path)
    assert "<script" not in svg
    heading = ElementTree.fromstring(svg).find("{*}text")
    assert heading is not None
    assert heading.text == name.replace("\x07", "□") + ": latency against mAP"


def test_signs_that_occur_are_explained(bench: dict[str, Any], draw: Callable[..., Scatter]) -> None:
    bench["rows"][1]["unstable"] = False
    assert signs(draw(bench)) == ""
    bench["rows"][0].update(settled=False, map_from={"device": "another"})
    all_signs = "ring and bold: to deploy · ~ timing unstable or unsettled · † mAP measured on another device"
    assert signs(draw(bench, chosen=("openvino-int8",))) == all_signs


def test_a_long_legend_has_more_lines(bench: dict[str, Any], tmp_path: Path) -> None:
    device = bench["devices"][0]
    bench["devices"] += [{**device, "name": f"a board with a long name {at}"} for at in range(5)]
    svg, _ = drawn(bench, tmp_path)
    keys = re.findall(r'translate\(([\d.]+) (\d+)\)"[^>]*>(?:<path class="front"[^>]*>)?<svg class="glyph"', svg)
    assert len({y for _, y in keys}) == 3
    assert all(float(x) < 1040 - 200 for x, y in keys if y != keys[0][1])


def test_nothing_to_plot_still_gives_a_chart(bench: dict[str, Any], tmp_path: Path) -> None:
    bench["rows"] = []
    svg, png = drawn(bench, tmp_path)
    assert "(not drawn)" in svg
    assert png.startswith(b"\x89PNG")


def test_text_is_drawn_where_the_system_has_no_font(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resvg_py, "svg_to_bytes", partial(resvg_py.svg_to_bytes, skip_system_fonts=True))
    text = '<text y="15" font-family="Any, sans-serif">ab</text>'
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" width="60" height="20">{text}</svg>'
    assert len(rasterize(svg)) > len(rasterize(svg.replace("ab", "")))
