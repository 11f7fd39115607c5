"""The table of where the time of the student's engines goes."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import reports

PARTS = [
    ("preprocessing", "rest", 0.05, 0),
    ("blocks.0", "depthwise convolution", 0.20, 1_000),
    ("blocks.0", "1x1 convolution", 0.30, 8_000),
    ("head", "matrix product", 0.15, 1_000),
    ("head", "rest", 0.10, 0),
    ("conversions", "conversion", 0.16, 0),
    ("other", "rest", 0.04, 0),
]


def times_of(engine: str, parts: list[tuple[str, str, float, int]]) -> dict[str, Any]:
    keys = ("part", "operation", "share", "multiply_adds")
    return {"engine": engine, "profiled_ms": 1.9, "parts": [dict(zip(keys, part, strict=True)) for part in parts]}


@pytest.fixture
def profiled(bench: dict[str, Any]) -> dict[str, Any]:
    """The bench with the profiles of two engines."""
    floats = [*PARTS[:5], ("other", "rest", 0.2, 0)]
    engines = [times_of("openvino-int8", PARTS), times_of("openvino-fp32", floats)]
    bench["layer_times"] = {"head": "label_attention", "engines": engines}
    return bench


def section(page: str) -> str:
    start = page.index('<section id="layers">')
    return page[start : page.index("</section>", start)]


def lines(page: str) -> dict[str, list[str]]:
    """Cells by the name of the line."""
    found = re.findall(r'<tr[^>]*><th scope="row">(.*?)</th>(.*?)</tr>', section(page))
    return {name: re.findall(r'<td class="number">(.*?)</td>', cells) for name, cells in found}


def test_a_measurement_without_profiles_has_no_table(example: reports.Written) -> None:
    assert 'id="layers"' not in example.page
    assert example.facts["layer_times"] is None


def test_the_table_holds_the_rows(profiled: dict[str, Any], tmp_path: Path) -> None:
    page, _, facts = reports.write(profiled, tmp_path)
    medians = {row["name"]: row["engine_ms"]["p50"] for row in profiled["rows"] if row["engine_ms"]}
    int8, plain = medians["openvino-int8"], medians["openvino-fp32"]
    assert facts["layer_times"]["engines"][0]["parts"][1]["share"] == 0.2
    table = lines(page)
    assert list(table) == [
        *("preprocessing", "blocks.0", "head", "conversions", "other", "all layers"),
        *("depthwise convolution", "1x1 convolution", "matrix product", "conversion", "rest"),
    ]
    assert table["blocks.0"] == ["50.0 %", f"{0.5 * int8:.2f}", "50.0 %", f"{0.5 * plain:.2f}", "90.0 %"]
    assert table["all layers"] == ["100.0 %", f"{int8:.2f}", "100.0 %", f"{plain:.2f}", "100.0 %"]
    assert table["head"][::2] == ["25.0 %", "25.0 %", "10.0 %"]
    assert table["rest"][::2] == ["19.0 %", "35.0 %", "–"]
    for column in (0, 2):
        shares = [float(cells[column].removesuffix(" %")) for cells in table.values()]
        assert sum(shares[:5]) == pytest.approx(100), "parts"
        assert sum(shares[6:]) == pytest.approx(100), "kinds of operation"
    assert "(openvino-int8: 1.90 ms, openvino-fp32: 1.90 ms together)" in section(page)


def test_sentences_come_from_the_figures(profiled: dict[str, Any], tmp_path: Path) -> None:
    row = next(row for row in profiled["rows"] if row["name"] == "openvino-int8")
    row["engine_ms"]["p50"], row["parts_ms"] = 2.0, row["parts_ms"] | {"decode": 0.7, "resize": 0.4}
    said = section(reports.write(profiled, tmp_path / "a").page)
    assert "The label_attention head takes 25.0 % of openvino-int8: a pooled head would save at most 0.500 ms." in said
    assert "Conversions between types and layouts take 16.0 %." in said
    assert "Decoding and resizing take 1.10 ms outside of the engine." in said
    assert "slow for their" not in said, "depthwise convolutions take just twice their share of the arithmetic"
    parts = profiled["layer_times"]["engines"][0]["parts"]
    parts[1]["multiply_adds"], parts[5]["share"], parts[4]["share"] = 500, 0.001, 0.259
    profiled["layer_times"]["head"] = "pooled"
    said = section(reports.write(profiled, tmp_path / "b").page)
    assert "The pooled head takes 40.9 % of openvino-int8. Decoding" in said
    assert (
        "Depthwise convolutions are slow for their arithmetic: 20.0 % of the time, 5.3 % of the multiply-adds." in said
    )


def test_an_engine_without_a_profile_has_its_reason(profiled: dict[str, Any], tmp_path: Path) -> None:
    absent = {"engine": "tensorrt-fp16", "reason": "tensorrt: its profile is not read"}
    profiled["layer_times"]["engines"][0] = absent
    page = reports.write(profiled, tmp_path / "one").page
    assert "tensorrt-fp16 has no profile: tensorrt: its profile is not read" in section(page)
    assert len(lines(page)["head"]) == 3, "the other engine's columns"
    profiled["layer_times"]["engines"] = [absent]
    page = reports.write(profiled, tmp_path / "none").page
    assert "has no profile" in section(page)
    assert "<table" not in section(page)
