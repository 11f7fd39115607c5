"""The page in a real headless Chromium."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchmarks.report import render

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--dump-dom",
]
HOSTILE = '<script>console.error("escaped")</script>'
DRIVER = """<script>
const press = (key) => document.querySelector(`th[data-key="${key}"] button`).click();
const names = () => [...document.querySelectorAll("table.sortable tbody tr")].map((row) => row.cells[0].dataset.order);
const report = (name, text) => document.body.insertAdjacentHTML("beforeend", `<pre id="${name}"></pre>`) ||
  (document.getElementById(name).textContent = text);
const wide = document.documentElement.scrollWidth > innerWidth;
report("wide", wide);
document.querySelector("thead th.name button").click(); report("name", names().join(" "));
press("map"); report("up", names().join(" ")); press("map"); report("down", names().join(" "));
document.querySelector('.plot.wide .mark[data-row="4"]').dispatchEvent(new Event("pointerenter"));
report("hover", document.getElementById("tip").hidden + " " + document.getElementById("tip").textContent);
</script>"""


@pytest.fixture(scope="session")
def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("chromium missing: make system")
    return found


def load(chromium: str, page: Path, profile: Path) -> tuple[str, list[str]]:
    """The document after its scripts ran, and what it wrote on the console."""
    command = [chromium, *FLAGS, f"--user-data-dir={profile}", "--window-size=390,900", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def told(document: str, name: str) -> str:
    found = re.search(f'<pre id="{name}">(.*?)</pre>', document, re.S)
    assert found is not None, f"the driver did not write {name}"
    return found.group(1)


def test_page_runs_without_an_error(bench: dict[str, Any], chromium: str, tmp_path: Path) -> None:
    bench["labels"][0] = bench["distillation"]["labels"][0]["label"] = HOSTILE
    render(bench, tmp_path)
    document, console = load(chromium, tmp_path / "report.html", tmp_path / "profile")
    assert 'data-ready="page"' in document
    assert 'data-ready="sorting"' in document
    assert console == []


def test_sorting_and_hover(bench: dict[str, Any], chromium: str, tmp_path: Path) -> None:
    render(bench, tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = re.sub(r"script-src '[^']*'", "script-src 'unsafe-inline'", page).replace("</body>", DRIVER + "</body>")
    driven = tmp_path / "driven.html"
    driven.write_text(page, encoding="utf-8")
    document, console = load(chromium, driven, tmp_path / "profile")
    assert console == []
    up, down = told(document, "up").split(), told(document, "down").split()
    assert told(document, "name").split() == sorted(row["name"] for row in bench["rows"])
    assert up[0] == "onnxruntime-int8"
    assert up[6] == down[0] == "teacher-torch"
    assert (
        up[7:] == down[7:] == ["openvino-gpu", "tensorrt-fp16-sm86", "tensorrt-int8-sm86"]
    )  # not measured: always last
    assert told(document, "hover").startswith("false openvino-int8")
    assert "4.17" in told(document, "hover")
    assert told(document, "wide") == "false"  # on a phone only the table scrolls sideways


def test_the_console_is_really_read(chromium: str, tmp_path: Path) -> None:
    page = tmp_path / "loud.html"
    page.write_text('<script>console.error("loud")</script>', encoding="utf-8")
    _, console = load(chromium, page, tmp_path / "profile")
    assert len(console) == 1
    assert "loud" in console[0]
