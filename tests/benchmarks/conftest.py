"""What the tests of measurements share."""

from pathlib import Path

import pytest

from tests.helpers import bundles, web_runtime
from tests.helpers.once import Once


@pytest.fixture(scope="session")
def colours(once: Once) -> Path:
    """A bundle of three engines, one of which no machine of ours can open; read only."""
    return bundles.shared_colours(once)


@pytest.fixture(scope="session")
def measured_page(device_cache: None, chromium_installed: None) -> None:
    """All that a page needs to be measured."""
    web_runtime.install()
