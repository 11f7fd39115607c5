"""Locks of which two are taken in one process: each opening of a file counts for itself."""

import threading
from pathlib import Path

from mlkd.core.locks import claimed, locked


def test_a_file_is_claimed_once(tmp_path: Path) -> None:
    with claimed(tmp_path / "a") as first, claimed(tmp_path / "a") as second, claimed(tmp_path / "b") as other:
        assert (first, second, other) == (True, False, True)
    with claimed(tmp_path / "a") as again:
        assert again


def test_the_second_waits_for_the_first(tmp_path: Path) -> None:
    order = []

    def second() -> None:
        with locked(tmp_path / "a"):
            order.append("second")

    with locked(tmp_path / "a"):
        waiting = threading.Thread(target=second)
        waiting.start()
        waiting.join(0.05)
        order.append("first")
    waiting.join()
    assert order == ["first", "second"]
