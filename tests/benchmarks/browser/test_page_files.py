"""What measurements of a browser depend on."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.browser import page_files
from benchmarks.config import DeviceEntry
from benchmarks.device import machine

BROWSER, BOARD = DeviceEntry(name="a", kind="browser"), DeviceEntry(name="b", host="b")


def test_another_page_or_machine_is_another_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert page_files.identity([BOARD]) == {}
    before = page_files.identity([BOARD, BROWSER])
    assert before == page_files.identity([BROWSER])
    assert before["machine"] == machine.identity()
    (tmp_path / "protocol.js").write_text("another")
    monkeypatch.setattr(page_files, "HERE", tmp_path)
    assert page_files.identity([BROWSER])["page"] != before["page"]
