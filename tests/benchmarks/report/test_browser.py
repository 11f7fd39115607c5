"""The page in a real headless Chromium."""

from __future__ import annotations

import html
import json
import os
import random
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchmarks.report import render
from benchmarks.report.recommendation import choose
from benchmarks.schema import read_report

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
const report = (name, text) => document.body.insertAdjacentHTML("beforeend", `<pre id="told-${name}"></pre>`) ||
  (document.getElementById(`told-${name}`).textContent = text);
const press = (key) => document.querySelector(`th[data-key="${key}"] button`).click();
const names = () => [...document.querySelectorAll("table.sortable tbody tr")].map((row) => row.cells[0].dataset.order);
const seen = (what) => [...document.querySelectorAll(what)].filter((part) => getComputedStyle(part).display !== "none");
const toggle = (filter, value) => document.querySelector(`input[data-filter="${filter}"][value="${value}"]`).click();
const ask = (name, value) => {
  question.elements[name].value = value;
  question.elements[name].dispatchEvent(new Event("input"));
};
%s
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
    found = re.search(f'<pre id="told-{name}">(.*?)</pre>', document, re.S)
    assert found is not None, f"the driver did not write {name}"
    return found.group(1)


def test_page_runs_without_an_error(bench: dict[str, Any], chromium: str, tmp_path: Path) -> None:
    bench["labels"][0] = bench["distillation"]["labels"][0]["label"] = HOSTILE
    render(read_report(bench), tmp_path)
    document, console = load(chromium, tmp_path / "report.html", tmp_path / "profile")
    assert 'data-ready="page"' in document
    assert 'data-ready="sorting"' in document
    assert console == []


def drive(bench: dict[str, Any], chromium: str, folder: Path, script: str) -> str:
    """The document after a script of ours ran in the page; nothing may reach the console."""
    render(read_report(bench), folder)
    page = (folder / "report.html").read_text(encoding="utf-8")
    page = re.sub(r"script-src '[^']*'", "script-src 'unsafe-inline'", page).replace(
        "</body>", DRIVER % script + "</body>"
    )
    driven = folder / "driven.html"
    driven.write_text(page, encoding="utf-8")
    document, console = load(chromium, driven, folder / "profile")
    assert console == []
    return document


def test_sorting_hover_and_a_phone(bench: dict[str, Any], chromium: str, tmp_path: Path) -> None:
    document = drive(
        bench,
        chromium,
        tmp_path,
        """
report("wide", document.documentElement.scrollWidth > innerWidth);
document.querySelectorAll("details").forEach((part) => { part.open = true; });
report("opened", document.documentElement.scrollWidth > innerWidth);
document.querySelector("thead th.name button").click(); report("name", names().join(" "));
press("map"); report("up", names().join(" ")); press("map"); report("down", names().join(" "));
document.querySelector('.plot.wide .mark[data-row="4"]').dispatchEvent(new Event("pointerenter"));
report("hover", document.getElementById("tip").hidden + " " + document.getElementById("tip").textContent);
""",
    )
    up, down = told(document, "up").split(), told(document, "down").split()
    assert told(document, "name").split() == sorted(row["name"] for row in bench["rows"])
    assert up[0] == "onnxruntime-int8"
    assert up[6] == down[0] == "teacher-torch"
    assert (
        up[7:] == down[7:] == ["openvino-gpu", "tensorrt-fp16-sm86", "tensorrt-int8-sm86"]
    )  # not measured: always last
    assert told(document, "hover").startswith("false openvino-int8to ship")
    for part in ("4.17", "RAPL package", "2,100 → 1,950", "54.3 to 56.6"):
        assert part in told(document, "hover")
    assert told(document, "wide") == told(document, "opened") == "false"  # on a phone only tables scroll sideways


def test_filters_act_on_chart_and_table_together(fleet: dict[str, Any], chromium: str, tmp_path: Path) -> None:
    document = drive(
        fleet,
        chromium,
        tmp_path,
        """
const state = (name) => report(name, [seen(".plot.narrow .mark").map((mark) => mark.dataset.row).sort().join(" "),
  seen("table.sortable tbody tr").map((row) => row.dataset.row).filter((at) => facts.get(at).plotted).sort().join(" "),
  seen("path.front[data-device]").length, document.querySelector("#fronts span").textContent].join("|"));
state("all"); toggle("device", "1"); state("one");
toggle("kind", "reference"); toggle("runtime", "openvino"); state("onnx");
toggle("precision", "int8"); state("float"); report("ship", document.querySelector("#answers .engine").textContent);
""",
    )
    states = {name: told(document, name).split("|") for name in ("all", "one", "onnx", "float")}
    assert all(state[0] == state[1] for state in states.values())
    at = {name: {int(row) for row in state[0].split()} for name, state in states.items()}
    rows = list(enumerate(fleet["rows"]))
    assert at["all"] == {i for i, row in rows if row["status"] == "measured"}
    assert at["one"] == {i for i in at["all"] if fleet["rows"][i]["device"] == "this machine"}
    assert at["onnx"] == {0, 1}
    assert at["float"] == {0}
    assert states["float"][3] == told(document, "ship") + "." == "onnxruntime-fp32."


def scatter_engines(rows: list[dict[str, Any]], dice: random.Random) -> None:
    """Engines anywhere, some with paired intervals."""
    for row in rows:
        if row["kind"] == "engine" and row["status"] == "measured":
            half = dice.uniform(0.001, 0.02)
            row["map"] = dice.uniform(0.45, 0.6)
            row["bytes"] = dice.randint(3_000_000, 16_000_000)
            row["end_to_end_ms"]["p90"] = dice.uniform(3, 60)
            row.update(map_low=row["map"] - half, map_high=row["map"] + half)
            row["delta_map"] = dice.choice([-0.01, 0.0, 0.03])
            if dice.random() < 0.6:
                row.update(delta_low=row["delta_map"] - half / 9, delta_high=row["delta_map"] + half / 9)


def asked(rows: list[dict[str, Any]], device: str, limits: dict[str, float | None]) -> list[str]:
    """Engine, why and runner-up as Python says them."""
    try:
        report = read_report({"schema": 3, "rows": rows})
        answer = choose(report.rows, device=device, **limits)
    except ValueError as error:
        closest = re.search(r"closest is (\S+) \((.*)\): relax that limit(?:; (a reference.*))?$", str(error))
        assert closest is not None
        known = f" A{closest[3][1:]}." if closest[3] else ""
        return ["none", f"No engine fits. Closest is {closest[1]}: {closest[2]}.{known}", ""]
    return [answer.engine, answer.why, f"Runner-up: {answer.runner_up}." if answer.runner_up else ""]


def test_page_and_command_choose_alike(fleet: dict[str, Any], chromium: str, tmp_path: Path) -> None:
    dice = random.Random(11)
    scatter_engines(fleet["rows"], dice)
    fleet["rows"][8].update(map=0.64, map_low=0.63, map_high=0.65, bytes=8_000_000)  # better than every engine
    cases = [
        {
            "max_p90_ms": dice.choice([None, round(dice.uniform(3, 60), 2)]),
            "min_map": dice.choice([None, round(dice.uniform(40, 60), 1)]),
            "max_mb": dice.choice([None, round(dice.uniform(3, 16), 1)]),
        }
        for _ in range(150)
    ]
    document = drive(
        fleet,
        chromium,
        tmp_path,
        f"const cases = {json.dumps(cases)};"
        + """
report("answers", JSON.stringify(cases.map((limits) => {
  for (const name of LIMITS) question.elements[name].value = limits[name] === null ? "" : limits[name];
  update();
  return [...document.querySelectorAll("#answers > li")].map((item) =>
    ["engine", "why", "next"].map((part) => item.querySelector("." + part).textContent));
})));
""",
    )
    answers = json.loads(html.unescape(told(document, "answers")))
    wanted = [[asked(fleet["rows"], device, limits) for device in ("this machine", "board")] for limits in cases]
    assert answers == wanted
    assert 40 < sum(told[0][0] == "none" for told in wanted) < len(cases) - 40
    assert len({found[0][0] for found in answers}) > 3
    for part in ("tags better: teacher-torch", "would fit: teacher-torch", "not counted"):
        assert 5 < sum(part in found[0][1] for found in answers) < len(cases) - 5


def test_the_page_explains_a_choice_that_is_the_best_as_python_does(
    bench: dict[str, Any], chromium: str, tmp_path: Path
) -> None:
    for at, row in enumerate(bench["rows"][:5]):  # the last is the fastest; the others lose a little, shown by pairs
        row.update(map=0.55 + at / 1000, delta_map=at / 1000 - 0.004)
        row.update(delta_low=row["delta_map"] - 1e-4, delta_high=row["delta_map"] + 1e-4)
    document = drive(bench, chromium, tmp_path, "")
    [_, why, _] = asked(bench["rows"], "this machine", {})
    assert "No other of them tags better." in why
    assert f'<span class="why">{why}</span>' in document


def test_without_a_question_the_page_says_what_python_wrote(
    fleet: dict[str, Any], chromium: str, tmp_path: Path
) -> None:
    document = drive(fleet, chromium, tmp_path, 'report("fronts", document.getElementById("fronts").textContent);')
    static = (tmp_path / "report.html").read_text(encoding="utf-8")
    written = re.findall(r'<p data-device="\d+"><strong>[^<]*</strong> <span>([^<]*)</span>', static)
    assert len(written) == 2
    for line in written:
        assert line in told(document, "fronts")


def test_hostile_names_stay_text_in_the_script(fleet: dict[str, Any], chromium: str, tmp_path: Path) -> None:
    text = json.dumps(fleet).replace('"board"', json.dumps(HOSTILE)).replace('"airplane"', json.dumps(HOSTILE))
    hostile = json.loads(
        text.replace('"openvino-int8"', json.dumps('"><img src=x onerror=console.error(1)>' + HOSTILE))
    )
    document = drive(
        hostile,
        chromium,
        tmp_path,
        """
ask("max_p90_ms", "28");
for (const mark of document.querySelectorAll(".mark")) mark.dispatchEvent(new Event("pointerenter"));
document.querySelectorAll("details").forEach((part) => { part.open = true; });
report("images", document.querySelectorAll("img").length + " " + document.querySelectorAll("script").length);
const drawn = [...document.querySelectorAll(".mistakes svg")].map((one) => one.getBoundingClientRect().width > 20);
report("opened", drawn.join(" "));
report("engine", document.querySelector("#answers .engine").textContent.length);
""",
    )
    assert told(document, "images") == "0 2"  # ours and this driver
    assert told(document, "opened") == "true true"
    assert int(told(document, "engine")) == len('"><img src=x onerror=console.error(1)>' + HOSTILE)


def test_the_console_is_really_read(chromium: str, tmp_path: Path) -> None:
    page = tmp_path / "loud.html"
    page.write_text('<script>console.error("loud")</script>', encoding="utf-8")
    _, console = load(chromium, page, tmp_path / "profile")
    assert len(console) == 1
    assert "loud" in console[0]
