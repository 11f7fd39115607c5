"""What stands beside the chart: throughput, sustained runs, histograms, pictures and mistakes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from benchmarks.report import render


def files(bench: dict[str, Any], out: Path) -> tuple[str, str]:
    render(bench, out)
    page, text = ((out / name).read_text(encoding="utf-8") for name in ("report.html", "report.md"))
    return page, text


def test_throughput_and_sustained_runs_stand_apart(bench: dict[str, Any], tmp_path: Path) -> None:
    page, text = files(bench, tmp_path)
    assert "Held for minutes" not in page + text
    held = {"seconds": 600, "p50": 4.0, "p90": 5.0, "p99": 6.0, "first_p90": 4.4, "last_p90": 7.77}
    sensors = {"clock_mhz": {"before": 2400, "after": 1500}, "temperature_c": {"before": None, "after": None}}
    bench["rows"][4]["sustained"] = {**held, **sensors}
    page, text = files(bench, tmp_path)
    for told in (page, text):
        assert "Held for minutes" in told
        assert "7.77" in told
        assert "2,400 → 1,500" in told
        assert "batch 8, 2 streams" in told
    section = page[page.index('<section id="throughput">') :]
    assert re.findall(r'style="width:([0-9.]+)%"', section[: section.index("</section>")])[:2] == ["100.0", "63.16"]


def test_histograms_of_every_engine(bench: dict[str, Any], tmp_path: Path) -> None:
    page, _ = files(bench, tmp_path)
    drawn = re.findall(r'<svg class="histogram".*?</svg>', page, re.S)
    assert len(drawn) == 5
    assert 'aria-label="p50 3.90, p90 4.17, p99 5.11 ms"' in drawn[0]
    heights = [float(height) for height in re.findall(r'<rect [^>]*height="([^"]*)"', drawn[0])]
    assert heights == [round(66 * count / 500, 1) for count in (40, 500, 200, 28)]


def test_a_picture_is_held_once(bench: dict[str, Any], tmp_path: Path) -> None:
    page, _ = files(bench, tmp_path)
    for picture in bench["pictures"].values():
        assert page.count(picture["jpeg_base64"]) == 1
    assert page.count('href="#picture-3"') == 2  # in the grid and among the mistakes


def test_mistakes_of_a_label_are_under_it(bench: dict[str, Any], tmp_path: Path) -> None:
    page, _ = files(bench, tmp_path)
    (opened,) = re.findall(r"<details><summary>.*?</details>", page, re.S)
    assert '<span class="label">airplane</span>' in opened
    assert re.findall(r"(○ missed|✗ not there)</span> <span class=\"quiet\">([^<]*)<", opened) == [
        ("○ missed", "0.12 / 0.34"),
        ("✗ not there", "0.87 / 0.34"),
    ]
