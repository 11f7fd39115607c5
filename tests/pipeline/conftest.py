"""A bundle of two colours with a cache for each file, and a finished run of the whole pipeline."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from export.bundle.bundle import read_bundle
from export.tagger.engine_times import measure_engines
from tests.helpers import bundles, commands, drawings, sshd, whole_run
from tests.helpers.once import Once


@pytest.fixture(scope="session")
def folder(once: Once) -> Path:
    return bundles.shared_colours(once)


@pytest.fixture(scope="session")
def colours(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That bundle with ONNX Runtime's engine alone: in a self-test each engine has a process of its own."""
    engines = (read_bundle(folder).engine("onnxruntime-fp32"),)
    return bundles.with_manifest(folder, tmp_path_factory.mktemp("colours") / "bundle", engines=engines)


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
def drawn(once: Once) -> Path:
    return once("drawn", drawings.draw)


@pytest.fixture(scope="session")
def work(drawn: Path, once: Once) -> Path:
    """Where the pipeline has run to its end."""

    def run(folder: Path) -> None:
        whole_run.write_recipe(drawn, folder)
        code, log = commands.run(folder, "bench", "--recipe", "tiny.yaml")
        assert code == 0, log

    return once("whole", run)


@pytest.fixture
def copied(work: Path, tmp_path: Path) -> Path:
    """The finished run once more, for tests that go on with it."""
    return Path(shutil.copytree(work, tmp_path / "copied", ignore=shutil.ignore_patterns("log.txt")))


@pytest.fixture
def ssh(server: sshd.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's ssh knows the server as `board`."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/ssh").write_text(f'#!/bin/sh\nexec /usr/bin/{" ".join(server.command)} "$@"\n')
    (tmp_path / "bin/ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
