"""What the tests of tagger.pyz share: a bundle that none of them changes, images, and a cache for each file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from export.bundle.bundle import read_bundle
from export.tagger.engine_times import measure_engines
from tests.helpers import bundles


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("device")
    return bundles.write_colours(work / "colours", work / "work")


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return bundles.write_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def cache(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Of a device that has timed the bundle's engines: the first start says so, whichever test that is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        assert measure_engines(folder, read_bundle(folder)) is not None
        yield
