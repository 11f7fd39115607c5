"""The browser's pixels and decisions are those of the bundle's own program."""

import base64
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from export.tagger import Tagger
from tests.export.web.conftest import MODEL, open_ready
from tests.helpers import image_kinds
from tests.helpers.chromium import Chromium
from tests.helpers.static_site import serve

SCORE = 1e-3

# What the page's worker does, with all that it finds on the way.
STEPS = """
return (async () => {
  const { Tagger } = await import("./tagger.js");
  const tagger = await Tagger.load("./");
  const results = [];
  for (const name of NAMES) {
    const blob = await (await fetch(`images/${encodeURIComponent(name)}`)).blob();
    const pixels = tagger.resize(await tagger.decode(blob));
    const scores = await tagger.scores(pixels);
    const tags = tagger.decide(scores).map(({ label }) => label);
    results.push({ pixels: btoa(String.fromCharCode(...pixels)), scores: [...scores], tags });
  }
  return results;
})();
"""


@pytest.fixture(scope="module")
def tagger(bundle: Path) -> Iterator[Tagger]:
    with Tagger.load(bundle, MODEL, threads=1) as tagger:
        yield tagger


def compare(page: Path, browser: Chromium, tagger: Tagger, files: list[Path], work: Path) -> dict[str, int]:
    """The largest difference of pixels by file, after the scores and tags are found equal."""
    copy = shutil.copytree(page, work / "copy")
    shutil.copytree(files[0].parent, copy / "images")
    with serve(copy) as address:
        tab = open_ready(browser, address)
        results = tab.run(STEPS.replace("NAMES", str([file.name for file in files])))
        browser.call("Target.closeTarget", targetId=tab.target)
    levels = {}
    for file, result in zip(files, results, strict=True):
        pixels = tagger.resize(tagger.decode(file))
        actual = np.frombuffer(base64.b64decode(result["pixels"]), np.uint8).reshape(pixels.shape)
        levels[file.name] = int(np.abs(actual.astype(int) - pixels).max())
        scores = tagger.scores(pixels[None])[0]
        np.testing.assert_allclose(result["scores"], scores, atol=SCORE, err_msg=file.name)
        assert result["tags"] == [tag.label for tag in tagger.decide(scores)], file.name
    return levels


@pytest.mark.parametrize("count", [20, pytest.param(500, marks=pytest.mark.slow)])
def test_jpegs_are_bit_for_bit_equal(page: Path, browser: Chromium, tagger: Tagger, tmp_path: Path, count: int) -> None:
    """Those larger than twice the model's side are decoded at a reduced scale."""
    (tmp_path / "images").mkdir()
    levels = compare(page, browser, tagger, image_kinds.write_jpegs(tmp_path / "images", count), tmp_path)
    assert {name: level for name, level in levels.items() if level} == {}


def test_rare_jpegs_are_bit_for_bit_equal(page: Path, browser: Chromium, tagger: Tagger, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    levels = compare(page, browser, tagger, image_kinds.write_rare_jpegs(tmp_path / "images"), tmp_path)
    assert set(levels.values()) == {0}


@pytest.mark.slow
def test_other_kinds_differ_by_one_level_at_most(page: Path, browser: Chromium, tagger: Tagger, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    levels = compare(page, browser, tagger, image_kinds.write_others(tmp_path / "images"), tmp_path)
    rounded = {"rgba.png", "la.png", "alpha.webp", "deep.png", "deep_grey.png"}  # alpha, 16 bits
    assert {name: level for name, level in levels.items() if level > (name in rounded)} == {}
