"""What the tests of measurements share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import bundles


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of three engines, one of which no machine of ours can open; read only."""
    work = tmp_path_factory.mktemp("colours")
    return bundles.write_colours(work / "colours", work / "work")
