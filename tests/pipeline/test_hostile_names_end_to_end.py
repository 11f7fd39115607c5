"""Hostile names of labels, images and folders in the whole pipeline, on a device over ssh, and in a browser."""

import json
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import onnx
import pytest

from benchmarks.remote import Ssh, parallel
from benchmarks.report.markdown import escape_markdown
from export.bundle.bundle import read_bundle
from pipeline.__main__ import main
from tests.helpers import commands, drawings, hostile, layouts, sshd
from tests.helpers.chromium import Chromium
from tests.helpers.once import Once
from tests.helpers.whole_run import facts

pytestmark = pytest.mark.slow
COUNT = 120
FOLDER = f'it\'s $(touch {hostile.MARKER}) "q" <b>; %s {{}} \u202e'
ENGINE = "export:\n  engines: [{name: onnxruntime-fp32, precision: fp32, backend: {kind: onnxruntime}}]\n"
NAMES = tuple(hostile.NAMES.values())


@pytest.fixture(scope="module")
def work(once: Once) -> Path:
    """A finished run in a folder with a hostile name."""

    def make(folder: Path) -> None:
        work = folder / FOLDER
        (work / "photos").mkdir(parents=True)
        rows = []
        for number in range(COUNT):
            name = f"{number}-{os.fsdecode(hostile.FILES[number % len(hostile.FILES)][-100:])}"
            layouts.draw(work / "photos" / name, number)
            rows.append({"file": name, "tags": [NAMES[(number * 3 + step * step) % len(NAMES)] for step in range(5)]})
        (work / "photos/tags.jsonl").write_text("\n".join(map(json.dumps, rows)))
        file = drawings.write_recipe(work, work)
        rest = file.read_text()[file.read_text().index("views:") :].replace("export:\n", ENGINE)
        source = json.dumps({"kind": "folder", "root": str(work / "photos"), "table": "tags.jsonl"})
        file.write_text(f"data: {source}\n{rest}")
        code, log = commands.run(work, "bench", "--recipe", "tiny.yaml")
        assert code == 0, log
        (folder / "log.txt").write_text(log)

    return once("hostile run", make) / FOLDER


def test_labels_reach_every_file(work: Path) -> None:
    dist = work / "dist/tiny"
    manifest = read_bundle(dist)
    assert set(manifest.labels) == set(NAMES)
    assert json.loads((dist / "tagger.json").read_text())["labels"] == list(manifest.labels)
    metadata = {entry.key: entry.value for entry in onnx.load(dist / "models/fp32.onnx").metadata_props}
    assert json.loads(metadata["labels"]) == list(manifest.labels)
    assert facts(dist / "report.json")["labels"] == list(manifest.labels)


def test_the_log_is_quiet(work: Path) -> None:
    assert [line for line in (work.parent / "log.txt").read_text().split("\n") if not line.isprintable()] == []


def test_nothing_ran_and_nothing_left_the_folder(work: Path) -> None:
    assert not list(work.parent.parent.rglob(hostile.MARKER))


@pytest.fixture(scope="module")
def browser(chromium_installed: None) -> Iterator[Chromium]:
    with Chromium() as browser:
        yield browser


def test_the_page_shows_every_label_as_text(work: Path, browser: Chromium) -> None:
    tab = browser.open(work / "dist/tiny/report.html")
    found = tab.run("""
document.querySelectorAll("details").forEach((part) => { part.open = true; });
for (const mark of document.querySelectorAll(".mark")) mark.dispatchEvent(new Event("pointerenter"));
return { texts: [...document.querySelectorAll("*")].flatMap((element) => [...element.childNodes])
    .filter((node) => node.nodeType === Node.TEXT_NODE).map((node) => node.data.trim()),
  images: [...document.images].filter((image) => !image.src.startsWith("data:")).length,
  scripts: document.scripts.length, wide: document.documentElement.scrollWidth > innerWidth };
""")
    assert set(NAMES) - set(found.pop("texts")) == set()
    assert found == {"images": 0, "scripts": 1, "wide": False}
    assert tab.console == []


def test_markdown_and_card_have_every_label(work: Path) -> None:
    for file in ("report.md", "MODEL_CARD.md"):
        text = (work / "dist/tiny" / file).read_text()
        assert [name for name in NAMES if escape_markdown(name) not in text] == []


def test_a_device_gets_it_over_ssh(
    work: Path, server: sshd.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / FOLDER.strip(" \u202e")
    home.mkdir()
    python = sshd.bare_python(home / "python")
    places = {"python": str(python), "folder": str(home / "store"), "install": str(home / "board")}
    entry = {"name": NAMES[1], "host": "board", "retries": 0, **places}
    (tmp_path / "devices.yaml").write_text(json.dumps({"devices": [entry]}))
    monkeypatch.setattr(parallel, "Ssh", partial(Ssh, command=server.command, wait_s=0.01))
    assert main(["ship", str(work / "dist/tiny"), "--devices", str(tmp_path / "devices.yaml")]) == 0
    assert read_bundle(home / "board/current").labels == read_bundle(work / "dist/tiny").labels
    assert not list(tmp_path.rglob(hostile.MARKER))
    assert not (Path.home() / hostile.MARKER).exists()
