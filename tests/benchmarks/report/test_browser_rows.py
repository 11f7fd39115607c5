"""A browser beside the native engines: what it does not measure is a dash, and it has a verdict of its own."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from benchmarks.report.rows import place
from benchmarks.schema import read_report
from tests.helpers import reports

BROWSER, RUNTIME = "Chromium here", "ONNX Runtime Web (WASM) 1.30.0"
ABSENT = ("peak_rss_mb", "gpu_memory_mb", "energy", "throughput", "sustained", "pinned", "clock_mhz", "temperature_c")


def add_browser(bench: dict[str, Any]) -> None:
    """The ONNX engines of the example, three times as slow, and one that a browser cannot run."""
    machine = {**bench["devices"][0]["machine"], "browser": "Chrome/156.0", "instruction_set": "wasm"}
    bench["devices"].append({"name": BROWSER, "status": "measured", "machine": machine, "threads": 1})
    for row in copy.deepcopy([row for row in bench["rows"] if row["name"].startswith("onnxruntime")]):
        for key in ("end_to_end_ms", "engine_ms"):
            row[key] = {name: value and 3 * value for name, value in row[key].items()}
        row["histogram"]["edges_ms"] = [3 * edge for edge in row["histogram"]["edges_ms"]]
        own = {"device": BROWSER, "runtime": RUNTIME, "map_from": {"device": BROWSER, "instruction_set": "wasm"}}
        bench["rows"].append({**row, **dict.fromkeys(ABSENT), **own})
    reason = "openvino: expected a plain ONNX graph, which a browser can run, got an engine of another runtime"
    other = {"name": "openvino-int8", "device": BROWSER, "kind": "engine", "status": "built, not run", "reason": reason}
    bench["rows"].append(other)


def test_a_browser_stands_beside_the_native_engines(bench: dict[str, Any], tmp_path: Path) -> None:
    add_browser(bench)
    report = reports.write(bench, tmp_path)
    rows = [row for row in place(read_report(bench).rows) if row.device == BROWSER]
    assert {row.runtime_family for row in rows if row.measured} == {"onnxruntime"}
    (verdict,) = (one for one in report.facts["verdict"] if one["device"] == BROWSER)
    assert verdict["engine"] == "onnxruntime-int8"
    assert verdict["pareto_front"]
    for text in (report.page, report.text):
        assert RUNTIME in text
        assert "Chrome/156.0" in text
        assert "expected a plain ONNX graph" in text
    assert f"Chrome/156.0, {bench['devices'][0]['machine']['cpu']}" in report.page
    assert "is not drawn" not in report.page
