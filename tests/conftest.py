"""The order of the tests: random, but the file that takes longest first, or one process would end alone with it."""

from __future__ import annotations

import pytest

LONGEST = "test_end_to_end.py"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name != LONGEST)
