"""What stands beside the chart: throughput, sustained runs, histograms, images and mistakes."""

import re
from pathlib import Path
from typing import Any

from tests.helpers import reports


def test_throughput_and_sustained_runs_stand_apart(
    bench: dict[str, Any], example: reports.Written, tmp_path: Path
) -> None:
    assert "Held for minutes" not in example.page + example.text
    held = {"seconds": 600, "p50": 4.0, "p90": 5.0, "p99": 6.0, "first_p90": 4.4, "last_p90": 7.77}
    sensors = {"clock_mhz": {"before": 2400, "after": 1500}, "temperature_c": {"before": None, "after": None}}
    bench["rows"][4]["sustained"] = {**held, **sensors}
    page, text, _ = reports.write(bench, tmp_path)
    for told in (page, text):
        assert "Held for minutes" in told
        assert "7.77" in told
        assert "2,400 → 1,500" in told
        assert "batch 8, 2 streams" in told
    section = page[page.index('<section id="throughput">') :]
    assert re.findall(r'style="width:([0-9.]+)%"', section[: section.index("</section>")])[:2] == ["100.0", "63.16"]


def test_instances_are_shown_only_of_data_that_has_their_sizes(
    bench: dict[str, Any], example: reports.Written, tmp_path: Path
) -> None:
    assert all("minor instances" in written for written in (example.page, example.text))
    nothing = dict.fromkeys(("teacher", "student", "baseline"))
    bench["distillation"] |= {"major": nothing, "minor": nothing}
    page, text, _ = reports.write(bench, tmp_path)
    assert "instances" not in page[page.index('<section id="distillation">') :].partition("</table>")[0]
    assert "instances |" not in text


def test_histograms_of_every_engine(example: reports.Written) -> None:
    page = example.page
    drawn = re.findall(r'<svg class="histogram".*?</svg>', page, re.S)
    assert len(drawn) == 5
    assert 'aria-label="p50 3.90, p90 4.17, p99 5.11 ms"' in drawn[0]
    heights = [float(height) for height in re.findall(r'<rect [^>]*height="([^"]*)"', drawn[0])]
    assert heights == [round(66 * count / 500, 1) for count in (40, 500, 200, 28)]


def test_an_image_is_held_once(bench: dict[str, Any], example: reports.Written) -> None:
    page = example.page
    for image in bench["images"].values():
        assert page.count(image["jpeg_base64"]) == 1
    assert page.count('href="#image-3"') == 2  # in the grid and among the mistakes


def test_engines_that_differ_alike_are_told_together(bench: dict[str, Any], tmp_path: Path) -> None:
    said = bench["grid"][1]["engines"]["openvino-fp32"]
    unlike = {"openvino-int8": said, "onnxruntime-int8": said[1:], "openvino-bf16": said[1:], "openvino-fp32": said}
    bench["grid"] = [
        {**bench["grid"][0], "engines": dict.fromkeys(unlike, said)},
        {**bench["grid"][1], "engines": unlike},
        {**bench["grid"][2], "engines": {**dict.fromkeys(unlike, said[1:]), "openvino-int8": said}},
    ]
    page = reports.write(bench, tmp_path).page
    lost = f"−{said[0][0]}"
    assert re.findall(r'<p class="other">(.*?)</p>', page) == [
        f"onnxruntime-int8, openvino-bf16: {lost}",
        f"all others: {lost}",
    ]


def test_the_most_labels_are_folded(bench: dict[str, Any], tmp_path: Path) -> None:
    bench["labels"] = [f"label {i}" for i in range(1000)]
    bench["distillation"]["labels"] = [
        {"label": f"label {i}", "teacher": 0.9, "student": 0.9 - i / 2000} for i in range(1000)
    ]
    for row in bench["rows"]:
        row["ap"] = None
    page = reports.write(bench, tmp_path).page
    first, more = page.split('<details class="more">')
    assert first.count('<span class="label">label ') == 100
    assert '<span class="label">label 999</span>' in first  # the biggest loss
    assert "900 labels more" in more
    assert more.count('<span class="label">label ') == 900
    assert len(page) < 1_500_000


def test_an_unstable_engine_is_marked_without_its_name(bench: dict[str, Any], tmp_path: Path) -> None:
    bench["rows"][0]["settled"] = False  # slow, so that a phone has no room for its name
    page = reports.write(bench, tmp_path).page
    chart = page[page.index('class="plot narrow"') :]
    mark = re.search(r'<g class="mark" data-row="0".*?</text>', chart[: chart.index("</svg>")], re.S)
    assert mark is not None
    assert mark.group().endswith(">~</text>")
    assert "halves of its processes differ by over 10 %" in page


def test_the_parts_of_the_engine_to_ship_are_numbers(example: reports.Written) -> None:
    page = example.page
    assert re.findall(r'<small class="told">(.*?)</small>', page) == [
        "decode 0.820 · resize 0.310 · infer 2.40 · post 0.090"
    ]


def test_mistakes_of_a_label_are_under_it(example: reports.Written) -> None:
    page = example.page
    (opened,) = re.findall(r"<details><summary>.*?</details>", page, re.S)
    assert '<span class="label">airplane</span>' in opened
    assert re.findall(r"(○ missed|✗ not there)</span> <span class=\"quiet\">([^<]*)<", opened) == [
        ("○ missed", "0.12 / 0.34"),
        ("✗ not there", "0.87 / 0.34"),
    ]
