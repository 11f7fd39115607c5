"""The page of a small bundle, ONNX Runtime for WebAssembly from the user's cache, and Chromium."""

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from export.bundle.bundle import parts_of, write_bundle
from export.bundle.description import describe
from export.bundle.golden import Golden
from export.web.folder import write_web
from tests.helpers import bundles, web_runtime
from tests.helpers.chromium import Chromium, Tab
from tests.helpers.once import Once
from tests.helpers.static_site import serve

MODEL = "onnxruntime-fp32"
HOSTILE = ("<img src=x onerror=alert(1)>", '" onload="alert(1)', "\u202egreen\u2066")  # as labels

Open = Callable[..., Tab]


@pytest.fixture(scope="session")
def runtime(once: Once, device_cache: None) -> None:
    """ONNX Runtime in the cache of this run: npm installs it once for all runs, and needs a network for that."""
    web_runtime.install()


@pytest.fixture(scope="session")
def bundle(once: Once) -> Path:
    """The bundle colours with hostile names for its labels."""

    def make(folder: Path) -> None:
        colours = bundles.shared_colours(once)
        parts = parts_of(colours)
        manifest = dataclasses.replace(parts.manifest, labels=HOSTILE)
        (folder / "tagger.json").write_text(describe(manifest, Golden.read(colours, manifest)), encoding="utf-8")
        sources = {**parts.sources, "tagger.json": folder / "tagger.json"}
        write_bundle(dataclasses.replace(parts, manifest=manifest, sources=sources), folder / "hostile")

    return once("hostile", make) / "hostile"


@pytest.fixture(scope="session")
def page(once: Once, runtime: None, bundle: Path) -> Path:
    """The folder that `make web` writes, read only."""
    return once("page", lambda work: write_web(bundle, work / "web", MODEL)) / "web"


@pytest.fixture(scope="session")
def browser(chromium_installed: None) -> Iterator[Chromium]:
    with Chromium() as browser:
        yield browser


@pytest.fixture
def opened(page: Path, browser: Chromium) -> Iterator[Tab]:
    """The page, below a path of its server, with its model loaded."""
    with serve(page.parent) as address:
        yield open_ready(browser, f"{address}{page.name}/")


def open_ready(browser: Chromium, address: str) -> Tab:
    tab = browser.open(address)
    until(tab, "document.querySelector('#status').textContent !== 'Loading the model …'")
    assert tab.run("return document.querySelector('#status').textContent") == "Ready."
    return tab


def until(tab: Tab, condition: str) -> None:
    """Wait until a JavaScript expression is true; the browser's answer to a stuck page is an error after a minute."""
    wait = f"const wait = () => {condition} ? done() : setTimeout(wait, 20); wait();"
    tab.run(f"return new Promise((done) => {{ {wait} }});")


def choose(tab: Tab, *files: Path) -> None:
    """Give files to the page as a user chooses them, and wait for their results."""
    call, session = tab.browser.call, tab.session
    root = call("DOM.getDocument", session)["root"]["nodeId"]
    node = call("DOM.querySelector", session, nodeId=root, selector="#files")["nodeId"]
    before = tab.run("return document.querySelectorAll('#results > li').length")
    call("DOM.setFileInputFiles", session, nodeId=node, files=list(map(str, files)))
    until(tab, f"document.querySelectorAll('#results > li').length === {before + len(files)}")
    until(tab, "![...document.querySelectorAll('#results p')].some((p) => p.textContent === 'Working …')")


def self_test(tab: Tab) -> list[str]:
    """Run the self-test and return its lines."""
    tab.run("document.querySelector('#selftest button').click()")
    return self_test_lines(tab)


def self_test_lines(tab: Tab) -> list[str]:
    """The lines of the self-test, once it has ended."""
    until(tab, "document.querySelector('#selftest [role=status]').textContent")
    lines: list[str] = tab.run("return [...document.querySelectorAll('#selftest li')].map((one) => one.textContent)")
    return lines


def listed(page: Path) -> dict[str, str]:
    """The files of the service worker with their hashes."""
    text = (page / "service_worker.js").read_text(encoding="utf-8")
    files: dict[str, str] = json.loads(text.removeprefix("const FILES = ").partition(";\n")[0])
    return files
