"""The service worker: the page works without a network, and a newer version replaces it as a whole."""

import contextlib
import os
import queue
from pathlib import Path

import pytest

from export.web.chromium import BrowserError
from export.web.folder import files_of, write_web
from tests.export.web.conftest import HOSTILE, MODEL, choose, listed, open_ready, until
from tests.helpers import bundles
from tests.helpers.chromium import Chromium
from tests.helpers.static_site import serve

STORED = "return navigator.serviceWorker.ready.then(() => true)"
KEYS = (
    "return caches.open(`edge-tagger ${new URL('./', location)}`).then((one) => one.keys()).then((all) => all.length)"
)

UPDATED = "document.querySelector('#about')?.textContent.includes('9.9')"


def test_every_file_is_stored(page: Path) -> None:
    assert {*listed(page), "service_worker.js"} == files_of(page).keys()
    assert {"index.html", "page.js", "tagger.js", "tagger.json", "ort-wasm-simd-threaded.wasm"} < listed(page).keys()


def test_it_tags_without_a_network(page: Path, browser: Chromium, tmp_path: Path) -> None:
    with serve(page) as address:
        tab = open_ready(browser, address)
        tab.run(STORED)
    assert tab.run(KEYS) == len(listed(page))
    again = open_ready(browser, address)
    choose(again, bundles.write_images(tmp_path)["red"])
    assert again.run("return document.querySelector('.tags bdi').textContent") == HOSTILE[0]


@pytest.mark.slow
def test_a_newer_version_replaces_the_older_one(
    runtime: None, bundle: Path, browser: Chromium, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Open pages keep the older one until one of them is updated; only what has changed is fetched.

    The new files have older dates, as those of a version that is published again.
    """
    folder = tmp_path / "site"
    write_web(bundle, folder, MODEL)
    requests: queue.Queue[str] = queue.Queue()
    with serve(tmp_path, paths=requests) as address:
        open_ready(browser, f"{address}site/").run(STORED)
        tab, other = (open_ready(browser, f"{address}site/") for _ in range(2))
        monkeypatch.setattr("export.web.folder.__version__", "9.9")
        write_web(bundle, folder, MODEL)
        for file in files_of(folder).values():
            os.utime(file, (1e9, 1e9))
        while not requests.empty():
            requests.get()
        open_ready(browser, f"{address}site/")
        for one in (tab, other):
            until(one, "!document.querySelector('#update').hidden")
        fetched = {requests.get() for _ in range(requests.qsize())}
        assert fetched == {"/site/service_worker.js", "/site/about.json"}
        assert "9.9" not in tab.run("return document.querySelector('#about').textContent")
        for one in (tab, other):
            one.run("document.querySelector('#update button').click()")
            with contextlib.suppress(BrowserError):  # the page is left while it waits
                until(one, UPDATED)
            until(one, UPDATED)
        assert tab.run(KEYS) == len(listed(folder))


def test_a_file_that_is_not_of_this_version_is_refused(page: Path, browser: Chromium, tmp_path: Path) -> None:
    """As while a host copies a newer version."""
    for path, file in files_of(page).items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(file.read_bytes())
    (tmp_path / "style.css").write_text("body { color: red }")
    with serve(tmp_path) as address:
        tab = open_ready(browser, address)
        installed = """
          return navigator.serviceWorker.register('service_worker.js').then((one) => new Promise((done) => {
            const worker = one.installing;
            if (!worker) done('redundant');
            worker?.addEventListener('statechange', () => done(worker.state));
          }));"""
        assert tab.run(installed) == "redundant"
