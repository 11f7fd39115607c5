"""Names that attack a page are text in it, with every label and file name as it was written."""

import os
from pathlib import Path

from export.web.folder import write_web
from tests.export.web.conftest import choose, open_ready
from tests.helpers import hostile
from tests.helpers.chromium import Chromium
from tests.helpers.static_site import serve

RESULTS = """return [...document.querySelectorAll('#results > li')].map((item) => [item.querySelector('h2').textContent,
  [...item.querySelectorAll('.tags bdi')].map((tag) => tag.textContent)]);"""


def test_labels_and_files_are_text(runtime: None, browser: Chromium, tmp_path: Path) -> None:
    bundle = hostile.write_colours(tmp_path / "bundle", tmp_path / "work")
    write_web(bundle, tmp_path / "web", hostile.ENGINE)
    files = hostile.write_images(tmp_path / "images", *hostile.FILES)
    with serve(tmp_path / "web") as address:
        tab = open_ready(browser, address)
        choose(tab, *files)
        found = {os.fsencode(name): tags for name, tags in tab.run(RESULTS)}
    assert set(found) == set(hostile.FILES)
    assert {tuple(sorted(tags)) for tags in found.values()} == {tuple(sorted(list(hostile.NAMES.values())[::3]))}
    assert tab.run("return document.querySelectorAll('#results img[src=x], #results script').length") == 0
    assert tab.console == []
