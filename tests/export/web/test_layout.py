"""The page on screens of all widths, with hostile text, and for assistive technology."""

from pathlib import Path

from tests.export.web.conftest import HOSTILE, choose, self_test
from tests.helpers import bundles
from tests.helpers.chromium import Tab

LEFT_EDGES = """return [...document.querySelectorAll('#status, #selftest li:has(bdi)')].map((line) =>
  [...line.childNodes].map((part) => {
    const range = document.createRange();
    range.selectNode(part);
    return range.getBoundingClientRect().left;
  }));"""


def test_a_name_does_not_change_the_direction_of_the_text_around_it(opened: Tab, tmp_path: Path) -> None:
    """A file name that ends its isolation and reverses what follows, and labels that do."""
    size = {"width": 2000, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    opened.browser.call("Emulation.setDeviceMetricsOverride", opened.session, **size)
    image = bundles.write_images(tmp_path)["yellow"]
    choose(opened, image.rename(tmp_path / "\u2069\u202eyellow.jpg"))
    opened.run("document.querySelector('#selftest').open = true")
    self_test(opened)
    status, *lines = opened.run(LEFT_EDGES)
    assert len(status) == len((image, ": ", HOSTILE[0], ", ", HOSTILE[1]))
    assert len(lines) > 1
    for edges in (status, *lines):
        assert edges == sorted(edges)


def test_nothing_is_wider_than_the_screen(opened: Tab, tmp_path: Path) -> None:
    """Also with larger text, and with a long file name in the status line."""
    red, *others = bundles.write_images(tmp_path).values()
    choose(opened, *others, red.rename(tmp_path / f"{'a' * 200}.jpg"))
    for width, font in ((320, "100%"), (320, "200%"), (390, "100%"), (1280, "100%")):
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
        opened.browser.call("Emulation.setDeviceMetricsOverride", opened.session, **size)
        opened.run(f"document.documentElement.style.fontSize = '{font}'")
        wider = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert opened.run(wider) == 0, (width, font)


def test_everything_has_a_name_for_assistive_technology(opened: Tab) -> None:
    opened.run("for (const one of document.querySelectorAll('details')) one.open = true")
    nodes = opened.browser.call("Accessibility.getFullAXTree", opened.session)["nodes"]
    roles = {"button", "link", "list", "image", "region", "DisclosureTriangle"}
    controls = [node for node in nodes if not node["ignored"] and node["role"]["value"] in roles]
    named = [node["name"]["value"] for node in controls if node.get("name", {}).get("value")]
    assert {"Choose photos", "Take a photo", "Run the self-test", "Results", "Images"} <= set(named)
    focusable = "button:not([hidden] *), a[href], input, summary"
    assert opened.run(f"return [...document.querySelectorAll('{focusable}')].every((one) => one.tabIndex >= 0)")
    live = "return [...document.querySelectorAll('[role=status]')].length"
    assert opened.run(live) == 2
