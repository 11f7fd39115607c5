"""Cut-outs and photographs that a test draws."""

from pathlib import Path

import pytest

from mlkd.data import Scenes
from tests.helpers import drawings
from tests.helpers.once import Once


@pytest.fixture(scope="session")
def drawn(once: Once) -> Path:
    """Folders cutouts/LABEL/*.png and backgrounds/*.png."""
    return once("drawn", drawings.draw)


@pytest.fixture
def scenes(drawn: Path) -> Scenes:
    return Scenes(image_px=48, train=40, val=20, test=20, cutouts=drawn / "cutouts", backgrounds=drawn / "backgrounds")
