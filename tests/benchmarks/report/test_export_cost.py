"""What export cost, as page and Markdown tell it."""

import html
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks.report import figures
from benchmarks.report.export_cost import PLOT_PX, read_export_cost
from benchmarks.report.rows import read_rows
from benchmarks.schema import read_report
from tests.helpers import reports


def told(bench: dict[str, Any], out: Path) -> tuple[str, str]:
    """The section in the page and in Markdown, empty where there is none."""
    page, text, _ = reports.write(bench | {"images": {}, "grid": [], "mistakes": None}, out)
    section = re.search(r'<section id="freezing">.*?</section>', page, re.S)
    part = re.search(r"^## What export cost\n.*?(?=^## )", text, re.S | re.M)
    return section.group() if section else "", part.group() if part else ""


def cells(section: str, name: str) -> list[str]:
    """The words of a table's row."""
    row = re.search(rf'<th scope="row">{name}\b.*?</tr>', section, re.S)
    assert row is not None, f"no row {name}"
    parts = re.findall(r"<t[hd].*?</t[hd]>", row.group(), re.S)
    return [" ".join(html.unescape(re.sub(r"<[^>]*>", " ", part)).split()) for part in parts]


def line(text: str, name: str) -> list[str]:
    found = next(row for row in text.splitlines() if row.startswith(f"| {name} |"))
    return [cell.strip() for cell in found.strip("|").split("|")]


def test_a_precision_tells_what_it_kept_and_how(bench: dict[str, Any], tmp_path: Path) -> None:
    section, text = told(bench, tmp_path)
    expected = ["99.4 %", "55.3", "percentile 54.2 (0.006)", "entropy 53.9 (0.027), min_max 53.1 (0.007)", "3"]
    verdict = "within budget with 3 layers in float"
    assert cells(section, "int8") == [f"int8 {verdict}", *expected]
    assert line(text.replace("\\_", "_"), "int8") == ["int8", *expected, verdict]
    assert cells(section, "fp16")[1:] == ["100.0 %", "55.6", "–", "–", "0"]
    others = "min_max 54.5, percentile 54.3"
    assert cells(section, "int8_x86")[1:] == ["99.2 %", "55.2", "entropy 54.9", others, "0"]
    for told_in in (section, text):
        assert "The float student has 55.6 mAP on the 1,000 select images of val; at least 99 % of it" in told_in
        assert "Ranges come from 300 training images that cover 30 labels." in told_in


def test_the_brackets_are_explained_where_there_are_any(bench: dict[str, Any], tmp_path: Path) -> None:
    assert "In brackets: how far scores are from the float student's" in told(bench, tmp_path)[1]
    for entry in bench["freezing"]["precisions"]:
        entry.pop("moved", None)  # as an earlier version measured
    section, text = told(bench, tmp_path)
    assert "In brackets" not in text
    assert cells(section, "int8")[3] == "percentile 54.2"


def test_what_is_below_the_budget_is_marked(bench: dict[str, Any], tmp_path: Path) -> None:
    section, _ = told(bench, tmp_path)
    assert re.findall(r'class="number wrong">([^<]*)<', section) == ["97.1 %"]
    bench["freezing"]["keep"] = 0.999
    section, _ = told(bench, tmp_path)
    assert re.findall(r'class="number wrong">([^<]*)<', section) == ["99.4 %", "99.2 %", "97.1 %"]


def test_every_layer_in_float_is_listed_with_its_gain(bench: dict[str, Any], tmp_path: Path) -> None:
    section, text = told(bench, tmp_path)
    assert [one for one in re.findall(r"<h4>(.*?)</h4>", section) if one.startswith("int8")] == [
        "int8",
        "int8_openvino",
    ]
    gains = re.findall(r'<span class="loss">([^<]*)</span><span>([^<]*)</span>', section)
    assert gains == [
        ("0.007", "backbone.blocks.0.0.conv_dw"),
        ("0.003", "backbone.conv_stem"),
        ("0.001", "head.attention.value"),
        ("–", "backbone.conv_stem"),
    ]
    assert "- backbone.blocks.0.0.conv\\_dw: 0.007\n- backbone.conv\\_stem: 0.003" in text


def test_an_engine_tells_how_far_it_is_from_float(bench: dict[str, Any], tmp_path: Path) -> None:
    section, text = told(bench, tmp_path)
    expected = ["−0.42", "−0.67 to −0.18", "1.21 %", "0.441", "0.007"]
    assert [cell for cell in cells(section, "onnxruntime-int8") if cell] == ["onnxruntime-int8", *expected]
    assert line(text, "onnxruntime-int8")[1:] == [*expected, "itself"]
    assert cells(section, "openvino-fp32")[4:] == ["0.00 %", "<0.001", "<0.001"]


def test_an_engine_that_did_not_run_tells_whose_scores_were_used(bench: dict[str, Any], tmp_path: Path) -> None:
    section, text = told(bench, tmp_path)
    assert cells(section, "tensorrt-int8-sm86")[0].endswith(
        "not run here: scores of onnxruntime, cpu, models/int8.onnx"
    )
    assert section.count("not run here") == 2
    assert line(text, "tensorrt-int8-sm86")[-1] == "onnxruntime, cpu, models/int8.onnx, not run here"


def test_only_int8_engines_list_the_labels_hurt(bench: dict[str, Any], tmp_path: Path) -> None:
    section, text = told(bench, tmp_path)
    hurt = section[section.index("Labels hurt most") :]
    assert re.findall(r"<h4>(.*?)</h4>", hurt) == ["onnxruntime-int8", "openvino-int8", "tensorrt-int8-sm86"]
    assert "cake" not in hurt  # of a bf16 engine
    assert 'title="airplane: 41 images of val"' in hurt
    assert "51.2 → 47.1" in hurt
    assert "| onnxruntime-int8 | airplane | 41 | 51.2 | 47.1 | −4.1 |" in text
    widths = [float(width) for width in re.findall(r'class="lost" style="width:([\d.]+)%', hurt)]
    assert widths == pytest.approx(
        [100, 100 * 2.16 / 4.12, 100 * 1.81 / 4.12, 100 * 1.46 / 4.12, 100 * 2.3 / 4.12], abs=0.1
    )


def test_intervals_lie_in_the_plot_where_their_numbers_say(bench: dict[str, Any]) -> None:
    cost = read_export_cost(bench["freezing"], read_rows(read_report(bench).rows))
    assert cost is not None
    assert cost.budget is not None
    per_px = -0.01 * 0.5561 / (cost.budget - cost.zero)
    for facts in bench["freezing"]["parity"]:
        spots = cost.spots[facts["engine"]]
        assert spots is not None
        found = [(spot - cost.zero) * per_px for spot in spots]
        assert found == pytest.approx([facts[key] for key in ("low", "delta_map", "high")], abs=per_px / 5)
        assert all(0 < spot < PLOT_PX for spot in spots)


def test_a_graph_tells_its_interval_and_that_images_were_too_few(bench: dict[str, Any], tmp_path: Path) -> None:
    entry = bench["freezing"]["precisions"][3]
    entry["quality"] = {"select_map": 0.5402, "low": -0.031, "high": 0.004, "fits": True}
    entry["verdict"] = "too few images to decide by mAP; score drift is small enough"
    section, text = told(bench, tmp_path)
    words = "too few images to decide by mAP; score drift is small enough; −3.10 to +0.40 points (95 %)"
    for told_in in (section, text):
        assert words in told_in
    assert 'class="number wrong"' not in section, "97.1 % of so few images is no fault"


def test_a_graph_tells_what_it_is_meant_for_and_where_it_was_measured(bench: dict[str, Any], tmp_path: Path) -> None:
    assert all(
        "Processors and arithmetic" not in one for one in told(bench, tmp_path)
    )  # as an earlier version measured
    bench["freezing"]["parity"][1] |= {"meant_for": "any processor", "judged_in": "exact arithmetic"}
    for told_in in told(bench, tmp_path):
        assert "onnxruntime-int8: meant for any processor; scores computed in exact arithmetic" in told_in
    section, text = told(bench, tmp_path)
    assert section.count("scores in exact arithmetic</span>") == text.count("| itself, in exact arithmetic |") == 1


def test_int8_kernels_that_saturate_are_named(bench: dict[str, Any], tmp_path: Path) -> None:
    assert all("against exact arithmetic" not in one for one in told(bench, tmp_path))  # as an earlier version measured
    named = "kernels saturate: scores differ by up to 0.13 <b>"
    bench["freezing"]["parity"][1]["drift"] = {"text": named}
    bench["freezing"]["parity"][2]["drift"] = None
    section, text = told(bench, tmp_path)
    assert section.count("<li>onnxruntime-int8: kernels saturate: scores differ by up to 0.13 &lt;b&gt;</li>") == 1
    assert "against exact arithmetic:\n\n- onnxruntime-int8: kernels saturate: scores differ by up to 0.13 " in text
    assert text.count("kernels saturate") == 1


def test_facts_that_lack_everything_are_told_as_far_as_they_go(bench: dict[str, Any], tmp_path: Path) -> None:
    bench["freezing"] = {
        "float_map": None,
        "precisions": [{"precision": "int8", "calibrator": "entropy"}],
        "parity": [{"engine": "openvino-int8", "delta_map": None}],
    }
    section, text = told(bench, tmp_path)
    assert cells(section, "int8") == ["int8", "–", "–", "entropy –", "–", "0"]
    assert cells(section, "openvino-int8") == ["openvino-int8", "–", "", "", "–", "–", "–"]
    assert "Ranges come" not in section + text
    assert "The float student" not in section + text
    assert "Labels hurt" not in section + text
    bench["freezing"] = {"float_map": 0.5}
    section, text = told(bench, tmp_path)
    assert "has 50.0 mAP." in section
    assert "<table" not in section
    assert "|" not in text
    del bench["freezing"]
    assert told(bench, tmp_path) == ("", "")


@pytest.mark.parametrize(
    ("value", "share", "small"),
    [(None, "–", "–"), (0.0, "0.00 %", "0.000"), (4e-6, "<0.01 %", "<0.001"), (0.0132, "1.32 %", "0.013")],
)
def test_small_numbers_are_never_written_as_nothing(value: float | None, share: str, small: str) -> None:
    assert figures.share(value) == share
    assert figures.small(value) == small
