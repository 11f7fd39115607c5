"""Two recipes with the same stages, one of which has run."""

from pathlib import Path

import pytest

from tests.helpers.recorder import Recorder


@pytest.fixture
def one(tmp_path: Path) -> Recorder:
    """A recipe that has run."""
    recorder = Recorder(tmp_path / "runs" / "one")
    recorder.run()
    return recorder


@pytest.fixture
def two(tmp_path: Path) -> Recorder:
    """Another recipe, with the same stages."""
    return Recorder(tmp_path / "runs" / "two")
