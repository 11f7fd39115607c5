"""What the tests of measurements share."""

from pathlib import Path

import pytest

from tests.helpers import bundles
from tests.helpers.once import Once


@pytest.fixture(scope="session")
def colours(once: Once) -> Path:
    """A bundle of three engines, one of which no machine of ours can open; read only."""
    return bundles.shared_colours(once)
