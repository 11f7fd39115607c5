"""Headless Chromium for tests, started once; each page has a tab of its own."""

from __future__ import annotations

from pathlib import Path

from export.web import chromium
from export.web.chromium import Tab, find_program

__all__ = ["PROGRAM", "Chromium", "Tab"]

PROGRAM = find_program()


class Chromium(chromium.Chromium):
    """Without a sandbox, which not every machine that runs tests allows."""

    domains = (*chromium.Chromium.domains, "Network")

    def __init__(self, limit_s: float | None = None) -> None:
        assert PROGRAM is not None
        super().__init__(PROGRAM, sandbox=False, limit_s=limit_s)

    def open(self, page: Path | str, width: int = 390, height: int = 900) -> Tab:
        """Load a page, a file or an address, in a window that is by default as large as that of a phone."""
        return super().open(page if isinstance(page, str) else page.as_uri(), size=(width, height))
