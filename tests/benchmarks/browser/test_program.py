"""Answers of a page are checked before anything is computed from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.browser import page_files, program
from benchmarks.browser.page_files import INDEX
from benchmarks.browser.protocol import Page
from benchmarks.browser.site import Site
from export.bundle.bundle import read_bundle
from export.bundle.golden import Golden
from export.web.chromium import BrowserError
from export.web.server import Source, serve
from tests.helpers import bundles, pages
from tests.helpers.chromium import Chromium

FAULTS = {
    "lies": ("export function queries() { return [1, NaN]; }", "queries: expected finite numbers from the page"),
    "is short": (
        "export function queries() { return [1]; }",
        "queries: expected at least 5 numbers from the page, got 1",
    ),
    "is text": (
        "export function queries() { return '<b>'; }",
        "queries: expected finite numbers from the page, got <b>",
    ),
    "is uneven": (
        "export function queries() { return [1, 2, 3, 4, 5, 6]; }",
        "queries: expected 5 times each from the page, got 6 in all",
    ),
    "stops": (
        "export const queries = () => [0, 1, 2, 3, 4], resolution = () => 0.005, engine = () => [];",
        "engine: expected at least 1 numbers from the page, got 0",
    ),
    "throws": ("export function queries() { throw new RangeError('out of memory'); }", "RangeError: out of memory"),
    "is old": ("export const version = 1;", "queries is not a function"),
}


@pytest.mark.usefixtures("measured_page")
@pytest.mark.parametrize("fault", FAULTS)
def test_what_a_page_does_wrong_is_an_error_with_its_cause(
    fault: str, browser: Chromium, colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, message = FAULTS[fault]
    monkeypatch.setattr(page_files, "HERE", pages.written(tmp_path / "page", code))
    manifest = read_bundle(colours)
    site = Site(colours, manifest, Golden.read(colours, manifest), page_files.page_files())
    images = tmp_path / "images.txt"
    images.write_text("".join(f"{file}\n" for file in bundles.write_images(tmp_path / "images").values()))

    @contextmanager
    def open_page(files: Mapping[str, Source]) -> Iterator[Page]:
        with serve(files) as address:
            yield Page(browser.open(address + INDEX))

    words = ["bench", "--engine", "onnxruntime-fp32", "--images", str(images), "--queries", "1"]
    with pytest.raises(BrowserError, match=message):
        program.answer(site, open_page, words)
