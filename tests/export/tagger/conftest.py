"""Bundles of which some engines cannot be opened as they were shipped, and a device without a cache."""

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from export.bundle.bundle import read_bundle
from export.bundle.golden import Golden
from export.tagger import engine_times
from tests.helpers import bundles, selftests
from tests.helpers.once import Once
from tests.helpers.stopwatch import Stopwatch
from tests.helpers.versions import write


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the engines of this test's device lie; there are none yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/edge-tagger/engines"


@pytest.fixture(autouse=True)
def in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """On this test's device the engines are as fast as they come first in the bundle."""
    times = itertools.count(1.0)
    monkeypatch.setattr(engine_times, "p50_ms", lambda *_: next(times))


@pytest.fixture
def stopwatch(in_order: None, monkeypatch: pytest.MonkeyPatch) -> Stopwatch:
    """Times OpenVINO faster than ONNX Runtime, and counts."""
    made = Stopwatch()
    monkeypatch.setattr(engine_times, "p50_ms", made)
    return made


@pytest.fixture(scope="session")
def colours(once: Once) -> Path:
    return bundles.shared_colours(once)


@pytest.fixture(scope="session")
def stale(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another graph, with the manifest in order, beside engines that were compiled from the one before."""
    return bundles.write_stale(colours, tmp_path_factory.mktemp("stale"))


@pytest.fixture(scope="session")
def selftested(once: Once) -> Path:
    """A bundle for self-tests, which tests copy to change it."""
    return once("selftest", selftests.write) / "bundle"


@pytest.fixture(scope="session")
def golden(selftested: Path) -> Golden:
    return Golden.read(selftested, read_bundle(selftested))


@pytest.fixture(scope="session")
def versions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three bundles to install."""
    return write(tmp_path_factory.mktemp("versions"))


@pytest.fixture(scope="session")
def pixels() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (5, bundles.PX, bundles.PX, 3), np.uint8)


@pytest.fixture
def never(monkeypatch: pytest.MonkeyPatch) -> Callable[[type, str], None]:
    """Makes a test fail that calls this method of this backend."""

    def forbid(backend: type, method: str) -> None:
        monkeypatch.setattr(backend, method, lambda *_: pytest.fail(f"{backend.__name__}.{method} was called"))

    return forbid
