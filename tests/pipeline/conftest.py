"""A bundle of two colours with a cache for each file, and a finished run of the whole pipeline."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from export.bundle.bundle import parts_of, read_bundle, write_bundle
from export.tagger.engine_times import measure_engines
from tests.helpers import bundles, commands, drawings, whole_run


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("device")
    return bundles.write_colours(work / "colours", work / "work")


@pytest.fixture(scope="session")
def colours(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That bundle with ONNX Runtime's engine alone: in a self-test each engine has a process of its own."""
    parts, bundle = parts_of(folder), tmp_path_factory.mktemp("colours") / "bundle"
    manifest = dataclasses.replace(parts.manifest, engines=(parts.manifest.engine("onnxruntime-fp32"),))
    write_bundle(dataclasses.replace(parts, manifest=manifest), bundle)
    return bundle


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


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    drawings.draw(folder)
    return folder


@pytest.fixture(scope="session")
def work(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the pipeline has run to its end, once for all test processes."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = shared / "whole"
    with (shared / "whole.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "finished").is_file():
            folder.mkdir(exist_ok=True)
            whole_run.write_recipe(drawn, folder)
            code, log = commands.run(folder, "bench", "--recipe", "tiny.yaml")
            assert code == 0, log
            (folder / "finished").touch()
    return folder


@pytest.fixture
def copied(work: Path, tmp_path: Path) -> Path:
    """The finished run once more, for tests that go on with it."""
    return Path(shutil.copytree(work, tmp_path / "copied", ignore=shutil.ignore_patterns("log.txt")))
