"""Bundles of which some engines cannot be opened as they were shipped, and a device without a cache."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from export.tagger import engine_times
from tests.helpers import bundles


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


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("rebuilding")
    return bundles.write_colours(work / "colours", work / "work")


@pytest.fixture(scope="module")
def stale(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another graph, with the manifest in order, beside engines that were compiled from the one before."""
    return bundles.write_stale(colours, tmp_path_factory.mktemp("stale"))


@pytest.fixture(scope="module")
def pixels() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (5, bundles.PX, bundles.PX, 3), np.uint8)


@pytest.fixture
def never(monkeypatch: pytest.MonkeyPatch) -> Callable[[type, str], None]:
    """Makes a test fail that calls this method of this backend."""

    def forbid(backend: type, method: str) -> None:
        monkeypatch.setattr(backend, method, lambda *_: pytest.fail(f"{backend.__name__}.{method} was called"))

    return forbid
