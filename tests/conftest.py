"""What all tests share: the order of files, folders that are made once, ssh server and cache."""

import atexit
import gc
import multiprocessing
import os
import signal
from collections.abc import Iterator
from multiprocessing import forkserver, util

import hypothesis
import pytest

from tests.helpers import chromium, sshd
from tests.helpers.once import Once, once_in

# The files that take longest, or one process would end alone with one of them.  Some fill a folder for all processes,
# for which another process would wait; those that read the whole run come long after the first, which makes it.
FIRST = (
    "test_end_to_end.py", "test_to_onnx.py", "test_ssh.py", "test_zoo.py", "test_ship.py", "test_distributed.py",
    "test_installing_faults.py", "test_cli.py", "test_runtimes.py", "test_streams.py", "test_compare.py",
    "test_install.py", "test_search.py", "test_weights.py", "test_cost.py", "test_references.py", "test_precisions.py",
    "test_second_recipe.py", "test_devices_end_to_end.py",
)  # fmt: skip


def pytest_configure() -> None:
    """Let Ctrl-C reach the children, which a background job would start without; write nothing into the checkout."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    hypothesis.settings.register_profile("tests", database=None)  # the checkout may be read-only
    hypothesis.settings.load_profile("tests")
    gc.disable()  # while modules are imported
    util.get_temp_dir()  # of servers of processes, which would be gone with the first command that a test runs here


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    position = {name: number for number, name in enumerate(FIRST)}
    items.sort(key=lambda item: position.get(item.path.name, len(FIRST)))


def pytest_collection_finish() -> None:
    """Overwrite what modules have set; the garbage collector need not search what was imported."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(["tests.helpers.preloaded"])
    if "PYTEST_XDIST_WORKER" in os.environ:
        forkserver.ensure_running()  # in Python 3.11 one that starts in another folder finds none of our modules
    gc.freeze()
    atexit.register(gc.unfreeze)  # or nanobind takes what was imported for leaks
    gc.enable()


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Fills a folder once for all test processes; it is read only."""
    return once_in(tmp_path_factory)


@pytest.fixture(scope="session", autouse=True)
def device_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Engines are timed and built for this run alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def no_sync() -> Iterator[None]:
    """No test takes the power away from the machine; commands and programs in other processes wait for the disk."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("sync", "fsync"):
            patch.setattr(os, name, lambda *_: None)
        yield


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sshd.Server]:
    """A real one on loopback; without the program a test is skipped, under CI it fails."""
    if sshd.PROGRAM is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("sshd missing: make system")
    with sshd.Server(tmp_path_factory.mktemp("ssh") / "server") as server:
        yield server


@pytest.fixture(scope="session")
def chromium_installed() -> None:
    """Without the program a test is skipped, under CI it fails."""
    if chromium.PROGRAM is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("chromium missing: make system")
