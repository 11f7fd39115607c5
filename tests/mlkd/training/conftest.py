"""A teacher with random weights and its outputs, for all tests of training."""

from pathlib import Path

import pytest

from mlkd.core.labels import Labels
from mlkd.data.augment import Views
from mlkd.teachers import CheckpointTeacher
from mlkd.teachers.record import record
from tests.helpers import taggers


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return taggers.save(tmp_path_factory.mktemp("teacher"), Labels(("red", "green", "blue")))


@pytest.fixture(scope="session")
def outputs(prepared: Path, teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of two views."""
    out = tmp_path_factory.mktemp("outputs")
    record([CheckpointTeacher(path=teacher)], prepared, Views(count=2), out, seed=0)
    return out
