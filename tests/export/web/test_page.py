"""The page as a user sees it: images in, tags out, nothing else leaves or gets in."""

import io
import json
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from tests.export.web.conftest import HOSTILE, choose, open_ready, self_test, self_test_lines, until
from tests.helpers import bundles
from tests.helpers.chromium import Chromium, Tab
from tests.helpers.image_kinds import ORIENTATION, deep_png
from tests.helpers.static_site import serve

RESULTS = """return [...document.querySelectorAll('#results > li')].map((item) => ({
  name: item.querySelector('h2').textContent,
  tags: [...item.querySelectorAll('.tags li')].map((tag) => tag.querySelector('bdi').textContent),
  text: item.querySelector('p')?.textContent ?? '',
}));"""


def results(tab: Tab) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in tab.run(RESULTS)}


def test_several_images_at_once(opened: Tab, tmp_path: Path) -> None:
    """Labels are data: names that look like HTML stay text, and the errors of some images do not stop others."""
    files = list(bundles.write_images(tmp_path).values())
    broken = tmp_path / "broken.png"
    Image.new("RGB", (40, 30)).save(broken)
    broken.write_bytes(broken.read_bytes()[:45])
    photo = io.BytesIO()
    Image.new("RGB", (300, 200), (255, 0, 0)).save(photo, "JPEG")
    cut, unended = tmp_path / "cut.jpg", tmp_path / "unended.jpg"
    cut.write_bytes(photo.getvalue()[:-200])
    unended.write_bytes(photo.getvalue()[:-2])
    heic = tmp_path / "phone.heic"
    heic.write_bytes(b"\0\0\0\x18ftypheic" + bytes(90))
    dark = tmp_path / "dark.png"
    dark.write_bytes(deep_png(np.full((5, 7, 3), 1000, np.uint16)))
    text = tmp_path / "text.jpg"
    text.write_text("no image")
    choose(opened, broken, heic, *files, cut, unended, dark, text)
    found = results(opened)
    assert found["red.jpg"]["tags"] == [HOSTILE[0]]
    assert set(found["yellow.jpg"]["tags"]) == set(HOSTILE[:2])
    assert found["blue.jpg"]["tags"] == [HOSTILE[2]]
    assert found["broken.png"]["text"] == "The PNG file is damaged. Choose another copy of it."
    for name in ("cut.jpg", "unended.jpg"):
        assert found[name]["text"] == "The JPEG file is truncated. Choose another copy of it."
    assert found["phone.heic"]["text"].startswith("This browser does not decode HEIC.")
    assert found["dark.png"]["text"].startswith("Of 16 bits a channel, the image uses fewer than 15.")
    assert found["text.jpg"]["text"].startswith("This is not an image that the browser can decode.")
    assert opened.run("return document.querySelectorAll('#results img[src=x]').length") == 0
    assert opened.console == []


def test_too_large_images_are_refused_before_they_are_decoded(opened: Tab, tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.png"
    Image.new("1", (1, 1)).save(bomb)
    content = bomb.read_bytes()
    bomb.write_bytes(content[:16] + struct.pack(">II", 30_000, 30_000) + content[24:])
    choose(opened, bomb)
    expected = "30000 × 30000 pixels are more than 90 million. Make it smaller."
    assert results(opened)["bomb.png"]["text"] == expected
    choose(opened, *bundles.write_images(tmp_path).values())
    assert results(opened)["red.jpg"]["tags"] == [HOSTILE[0]]


def test_images_are_dropped_and_pasted(opened: Tab) -> None:
    give = """
      const canvas = new OffscreenCanvas(9, 9);
      const context = canvas.getContext('2d');
      context.fillStyle = 'red';
      context.fillRect(0, 0, 9, 9);
      return canvas.convertToBlob().then((blob) => {
        const transfer = new DataTransfer();
        transfer.items.add(new File([blob], 'red.png', { type: 'image/png' }));
        dispatchEvent(EVENT);
      });"""
    for event in (
        "new DragEvent('drop', { dataTransfer: transfer, cancelable: true })",
        "new ClipboardEvent('paste', { clipboardData: transfer })",
    ):
        before = len(opened.run(RESULTS))
        opened.run(give.replace("EVENT", event))
        until(opened, f"document.querySelectorAll('.tags').length === {before + 1}")
        assert opened.run(RESULTS)[0]["tags"] == [HOSTILE[0]]


def drop(tab: Tab, **data: Any) -> None:
    """Drop onto the page as a user does."""
    content = {"items": [], "files": [], "dragOperationsMask": 1} | data
    for kind in ("dragEnter", "dragOver", "drop"):
        tab.browser.call("Input.dispatchDragEvent", tab.session, type=kind, x=200, y=100, data=content)


def test_a_folder_or_text_that_is_dropped_is_said(opened: Tab, tmp_path: Path) -> None:
    drop(opened, items=[{"mimeType": "text/uri-list", "data": "https://example.org/image.jpg"}])
    until(opened, "document.querySelector('#status').textContent.startsWith('That has no file.')")
    assert opened.run(RESULTS) == []
    (tmp_path / "photos").mkdir()
    drop(opened, files=[str(tmp_path / "photos")])
    until(opened, "document.querySelector('#results p.bad')")
    assert results(opened)["photos"]["text"].startswith("It is a folder, or has been moved or changed.")


def test_the_self_test_passes(opened: Tab) -> None:
    lines = self_test(opened)
    assert [line for line in lines if not line.startswith("Passed: ")] == []
    steps = {tuple(line.split()[1:3]) for line in lines}
    assert {step for step, _ in steps} == {"decode", "resize", "engine", "all"}
    assert len(steps) == len(lines) == 4 * len({image for _, image in steps})


def test_the_self_test_names_the_step_that_differs(page: Path, browser: Chromium, tmp_path: Path) -> None:
    copy = shutil.copytree(page, tmp_path / "copy")
    name = json.loads((copy / "tagger.json").read_text(encoding="utf-8"))["golden"][0]["image"]
    with Image.open(copy / f"{name}.decoded.png") as stored:
        ImageOps.invert(stored).save(copy / f"{name}.decoded.png")
    with serve(copy) as address:
        lines = self_test_lines(open_ready(browser, f"{address}#selftest"))
    image = name.removeprefix("golden/")
    failed = {tuple(line.split()[1:3]) for line in lines if line.startswith("FAILED: ")}
    assert failed == {("decode", f"{image}:"), ("resize", f"{image}:")}


def test_a_model_that_does_not_load_is_said(page: Path, browser: Chromium, tmp_path: Path) -> None:
    copy = shutil.copytree(page, tmp_path / "copy")
    (copy / "models/fp32.onnx").write_bytes(b"no model")
    with serve(copy) as address:
        tab = browser.open(address)
        until(tab, "document.querySelector('#status').textContent !== 'Loading the model …'")
        text = tab.run("return document.querySelector('#status').textContent")
    assert text.startswith("The model did not load.")


def test_a_worker_that_does_not_start_is_said(page: Path, browser: Chromium, tmp_path: Path) -> None:
    """As of a folder that is copied in part; later images and the self-test get the same message."""
    copy = shutil.copytree(page, tmp_path / "copy")
    (copy / "ort.js").unlink()
    red = bundles.write_images(tmp_path)["red"]
    expected = "The worker failed: it did not start. Load the page again."
    with serve(copy) as address:
        tab = browser.open(address)
        until(tab, f"document.querySelector('#status').textContent === '{expected}'")
        choose(tab, red)
        assert results(tab)["red.jpg"]["text"] == expected
        self_test(tab)
        assert tab.run("return document.querySelector('#selftest [role=status]').textContent") == expected


def test_everything_comes_from_the_own_folder(page: Path, browser: Chromium, tmp_path: Path) -> None:
    """All requests of the page and of its worker, which is stopped until they are recorded."""
    call = browser.call
    with serve(page.parent) as server:
        address = f"{server}{page.name}/"
        tab = browser.open("about:blank")
        call("Target.setAutoAttach", tab.session, autoAttach=True, waitForDebuggerOnStart=True, flatten=True)
        call("Page.navigate", tab.session, url=address)
        workers: list[str] = []
        while not workers:
            tab.run("")
            attached = [event["params"] for event in browser.events if event["method"] == "Target.attachedToTarget"]
            workers = [one["sessionId"] for one in attached if one["targetInfo"]["url"] == f"{address}worker.js"]
        for session in workers[-1:]:
            call("Network.enable", session)
            call("Runtime.runIfWaitingForDebugger", session)
        until(tab, "document.querySelector('#status').textContent === 'Ready.'")
        choose(tab, *bundles.write_images(tmp_path).values())
    requests = {
        event["params"]["request"]["url"]
        for event in browser.events
        if event["method"] == "Network.requestWillBeSent" and event.get("sessionId") in (tab.session, workers[-1])
    }
    assert {url for url in requests if not url.startswith((address, "blob:"))} == set()
    assert {f"{address}{name}" for name in ("page.js", "tagger.js", "tagger.json", "models/fp32.onnx")} <= requests


def test_the_policy_forbids_what_the_page_does_not_need(page: Path, opened: Tab) -> None:
    text = (page / "index.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    assert not any(word in text for word in ("unsafe-inline", "'unsafe-eval'", "http:", "https:", " style=", "onclick"))
    script = """(() => {
      const script = document.createElement('script');
      script.textContent = 'window.inline = true';
      document.head.append(script);
      let evaluated = true;
      try { setTimeout.constructor('return 1')(); } catch { evaluated = false; }
      return fetch('https://example.org/').then(() => true, () => false).then((sent) =>
        [window.inline ?? false, evaluated, sent]);
    })()"""
    options = {"returnByValue": True, "awaitPromise": True, "allowUnsafeEvalBlockedByCSP": False}
    answer = opened.browser.call("Runtime.evaluate", opened.session, expression=script, **options)
    assert answer["result"]["value"] == [False, False, False]


def test_orientation_is_applied_once(opened: Tab, tmp_path: Path) -> None:
    """The middle of the stored image is red on the left and blue on the right; tags alone cannot tell."""
    halves = Image.new("RGB", (64, 32), (255, 0, 0))
    halves.paste((0, 0, 255), (32, 0, 64, 32))
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    sent = io.BytesIO()
    halves.save(sent, "PNG", exif=exif)
    script = """
      return import('./decode.js').then(({ decode }) => decode(new Blob([Uint8Array.from(BYTES)]), 16))
        .then(({ data, width, height }) => [width, height, [...data.slice(0, 3)], [...data.slice(-3)]]);"""
    assert opened.run(script.replace("BYTES", json.dumps(list(sent.getvalue())))) == [32, 64, [255, 0, 0], [0, 0, 255]]
