"""A bundle whose files are only bytes, and a copy to change."""

import shutil
from pathlib import Path

import pytest

from tests.helpers.bundles import write_plain


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("bundle")
    return write_plain(work / "built", work / "one.onnx")


@pytest.fixture
def copy(built: Path, tmp_path: Path) -> Path:
    return shutil.copytree(built, tmp_path / "copy")
