"""Whatever text a device reports is text in the page: no script runs in a real Chromium."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.report import render
from benchmarks.schema import read_report
from tests.helpers.chromium import Chromium

ATTACKS = (
    "<script>console.error('ran')</script>",
    "\"'><img src=x onerror=console.error('ran')>",
    "</style></script><svg onload=console.error('ran')>",
    "javascript:console.error('ran')",
    "{{ 7*7 }}{% raw %}</title><iframe srcdoc='<script>parent.console.error(1)</script>'>",
)
# What the page reads as a word of its own: the model and status of a row, and roles of boxes.
WORDS = {
    "measured", "failed", "built, not run", "engine", "reference", "student", "teacher", "baseline", "major", "minor",
    "missed", "wrong", "onnxruntime", "openvino", "tensorrt", "torch",
}  # fmt: skip
LONGEST = 500  # an image is longer


def texts(part: Any) -> Iterator[str]:
    """All texts that are values."""
    if isinstance(part, str):
        yield part
    for inside in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from texts(inside)


def replaced(part: Any, new: dict[str, str]) -> Any:
    if isinstance(part, str):
        return new.get(part, part)
    if isinstance(part, list):
        return [replaced(inside, new) for inside in part]
    return {new.get(k, k): replaced(v, new) for k, v in part.items()} if isinstance(part, dict) else part


def test_no_text_of_a_device_runs_in_the_page(fleet: dict[str, Any], browser: Chromium, tmp_path: Path) -> None:
    for row in fleet["rows"]:
        if row["status"] == "failed" or row["reason"]:
            row["reason"] = "it failed"
    schema_words = {"kind", "schema"}
    found = sorted({text for text in texts(fleet) if len(text) < LONGEST} - WORDS - schema_words)
    attacks = {text: f"{ATTACKS[at % len(ATTACKS)]} {at}" for at, text in enumerate(found)}
    hostile = replaced(fleet, attacks)
    render(read_report(hostile), tmp_path)
    tab = browser.open(tmp_path / "report.html")
    seen = tab.run("""
document.querySelectorAll("details").forEach((part) => { part.open = true; });
for (const mark of document.querySelectorAll(".mark")) mark.dispatchEvent(new Event("pointerenter"));
document.querySelectorAll("input, button").forEach((part) => part.click());
const links = [...document.querySelectorAll("[href], [src]")].map((part) =>
  part.getAttribute("href") ?? part.getAttribute("src"));
return { foreign: document.querySelectorAll("iframe, img[src=x], svg[onload], object, embed").length,
  scripts: document.scripts.length, handlers: [...document.querySelectorAll("*")].filter((part) =>
    [...part.attributes].some((attribute) => attribute.name.startsWith("on"))).length,
  links: links.filter((link) => !link.startsWith("#") && !link.startsWith("data:image/")),
  text: document.body.textContent };
""")
    text = seen.pop("text")
    assert seen == {"foreign": 0, "scripts": 1, "handlers": 0, "links": []}
    assert tab.console == []
    for name in ("Example CPU @ 2.10 GHz", "Debian GNU/Linux 12", "ssh: lost: no route", "board", "openvino 2026.4.1"):
        assert attacks[name] in text
