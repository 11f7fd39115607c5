"""A real browser."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.helpers.chromium import Chromium


@pytest.fixture(scope="module")
def browser(chromium_installed: None) -> Iterator[Chromium]:
    with Chromium() as chromium:
        yield chromium
