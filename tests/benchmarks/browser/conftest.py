"""A real browser and server; without Chromium a test is skipped, under CI it fails."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.helpers.chromium import PROGRAM, Chromium


@pytest.fixture(autouse=True, scope="session")
def needs_chromium() -> None:
    if PROGRAM is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("chromium missing: make system")


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    with Chromium() as chromium:
        yield chromium
