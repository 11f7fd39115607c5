"""What all tests share: the longest file begins first, or one process would end alone with it; ssh server and cache."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import hypothesis
import pytest

from tests.helpers import sshd

LONGEST = "test_end_to_end.py"


def pytest_configure() -> None:
    """Let Ctrl-C reach the children, which a background job would start without; write nothing into the checkout."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    hypothesis.settings.register_profile("tests", database=None)  # the checkout may be read-only
    hypothesis.settings.load_profile("tests")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name != LONGEST)


@pytest.fixture(scope="session", autouse=True)
def device_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Engines are timed and built for this run alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sshd.Server]:
    """A real one on loopback; without the program a test is skipped, under CI it fails."""
    if sshd.PROGRAM is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("sshd missing: make system")
    with sshd.Server(tmp_path_factory.mktemp("ssh") / "server") as server:
        yield server
