"""The bundle and the photos of the programs in examples/elsewhere."""

from pathlib import Path

import pytest

from tests.helpers import positions
from tests.helpers.once import Once


@pytest.fixture(scope="session")
def bundle(once: Once) -> Path:
    return once("positions", positions.write_positions) / "bundle"


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return positions.draw_photos(tmp_path_factory.mktemp("photos"))
