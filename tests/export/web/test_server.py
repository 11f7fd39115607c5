"""What the server gives, to whom, and what it does not."""

from __future__ import annotations

import http.client
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from export.web.chromium import Chromium
from export.web.server import TYPES, serve


def get(address: str, path: str, method: str = "GET") -> tuple[int, str | None, bytes]:
    """Status, type and content of a path as it is written."""
    split = urlsplit(address)
    connection = http.client.HTTPConnection(split.hostname or "", split.port)
    connection.request(method, path)
    answer = connection.getresponse()
    content = answer.status, answer.headers["Content-Type"], answer.read()
    connection.close()
    return content


def test_only_named_files_below_the_path_are_served(tmp_path: Path) -> None:
    (tmp_path / "file.mjs").write_bytes(b"export {}")
    (tmp_path / "secret").write_bytes(b"secret")
    with serve({"a/file.mjs": tmp_path / "file.mjs", "b": b"bytes"}) as address, serve({}) as other:
        path = urlsplit(address).path
        assert urlsplit(address).hostname == "127.0.0.1"
        assert path != urlsplit(other).path
        assert len(path) > 40
        assert get(address, f"{path}a/file.mjs") == (200, TYPES.guess_type("a.mjs")[0], b"export {}")
        assert get(address, f"{path}b") == (200, "application/octet-stream", b"bytes")
        for wrong in ("/", "/b", "/a/file.mjs", path, f"{path}a/../secret", f"{path}a/%2e%2e/secret", f"{path}/b"):
            assert get(address, wrong)[0] == 404
        assert get(address, f"{path}b", "POST")[0] == 501
    with pytest.raises(ConnectionRefusedError):
        get(address, path)


def test_a_page_is_isolated_and_has_a_clock_of_5_us(browser: Chromium) -> None:
    with serve({"index.html": b"<!doctype html>"}) as address:
        isolated, step_ms = browser.open(f"{address}index.html").run("""
let least = Infinity;
for (let steps = 0, last = performance.now(); steps < 100; ) {
  const now = performance.now();
  if (now > last) { least = Math.min(least, now - last); steps++; }
  last = now;
}
return [crossOriginIsolated, least];""")
    assert isolated
    assert step_ms < 0.01


@pytest.mark.parametrize("sent", ["", "GET /", "GET {path} HTTP/1.1\r\n\r\n"])
def test_a_browser_that_ends_in_the_middle_is_no_error(sent: str, capfd: pytest.CaptureFixture[str]) -> None:
    with serve({"large": bytes(1 << 24)}) as address:
        split, before = urlsplit(address), threading.active_count()
        client = socket.create_connection((split.hostname, split.port))
        client.sendall(sent.format(path=f"{split.path}large").encode())
        wait_for(lambda: threading.active_count() > before)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closes with a reset
        client.close()
        wait_for(lambda: threading.active_count() == before)
    assert capfd.readouterr().err == ""


def wait_for(condition: Callable[[], bool]) -> None:
    """At most 30 s."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)
