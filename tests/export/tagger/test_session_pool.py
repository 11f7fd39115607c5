import queue
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from export.backends import RuntimeInfo, Session
from export.tagger import Tagger
from export.tagger.session_pool import SessionPool
from tests.helpers import bundles

RAN = RuntimeInfo(provider="a", device="b", compute="f32", version="1", placed=1.0)


class Fake(Session):
    """Notices two threads at once."""

    def __init__(self) -> None:
        super().__init__(Path("fake.onnx"), RAN, (4, 4, 3))
        self.free, self.closed = threading.Lock(), False

    def _run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        assert self.free.acquire(blocking=False), "two threads on one session"
        threading.Event().wait(0.002)
        self.free.release()
        return np.zeros((len(images), 1), np.float32)

    def _release(self) -> None:
        self.closed = True


def in_thread(call: Callable[[], Any]) -> queue.Queue[Any]:
    """What it returns or raises; a test does not wait for one that never ends."""
    said: queue.Queue[Any] = queue.Queue()

    def work() -> None:
        try:
            said.put(call())
        except ValueError as cause:
            said.put(cause)

    threading.Thread(target=work, daemon=True).start()
    return said


@pytest.fixture
def opened() -> list[Fake]:
    return []


def sessions(opened: list[Fake], most: int) -> SessionPool:
    def another() -> Session:
        opened.append(Fake())
        return opened[-1]

    return SessionPool(another(), another, most)


def test_no_session_serves_two_threads_and_no_more_are_opened_than_allowed(opened: list[Fake]) -> None:
    pool = sessions(opened, 3)
    images = np.zeros((2, 4, 4, 3), np.uint8)

    def query(_: int) -> Any:
        with pool.borrow() as session:
            return session(images)

    with ThreadPoolExecutor(8) as threads:
        assert len(list(threads.map(query, range(100)))) == 100
    assert len(opened) == 3


def test_an_idle_session_is_taken_before_another_is_opened(opened: list[Fake]) -> None:
    pool = sessions(opened, 3)
    for _ in range(4):
        with pool.borrow() as session:
            assert session is opened[0]
    with pool.borrow(), pool.borrow() as second:
        assert second is opened[1]
    assert len(opened) == 2


def test_a_session_that_failed_to_open_leaves_its_place(opened: list[Fake]) -> None:
    faults = iter([MemoryError("no room"), None])

    def another() -> Session:
        fault = next(faults)
        if fault is not None:
            raise fault
        return Fake()

    pool = SessionPool(Fake(), another, 2)
    with pool.borrow() as first:
        with pytest.raises(MemoryError, match="no room"), pool.borrow():
            pass
        assert in_thread(lambda: pool.borrow().__enter__()).get(timeout=10) is not first


def test_a_query_that_fails_gives_its_session_back(opened: list[Fake]) -> None:
    pool = sessions(opened, 1)
    for _ in range(2):
        with pytest.raises(ValueError, match="expected uint8"), pool.borrow() as session:
            session(np.zeros((1, 4, 4, 3), np.float32))  # type: ignore[arg-type]


def test_closing_lets_the_last_query_end_and_wakes_those_that_wait(opened: list[Fake]) -> None:
    pool = sessions(opened, 1)
    with pool.borrow() as session:
        waiting = in_thread(lambda: pool.borrow().__enter__())
        with pytest.raises(queue.Empty):
            waiting.get(timeout=0.05)
        pool.close()
        assert "fake.onnx: expected an open tagger, got a closed one" in str(waiting.get(timeout=10))
        session(np.zeros((1, 4, 4, 3), np.uint8))
        assert not opened[0].closed
    assert opened[0].closed
    pool.close()


@pytest.mark.parametrize("name", ["onnxruntime-fp32", "openvino-fp32"])
def test_a_tagger_serves_many_threads(colours: Path, pixels: NDArray[np.uint8], name: str) -> None:
    batches = [pixels[at:] for at in range(len(pixels))]
    with Tagger.load(colours, name) as alone:
        expected = [alone.scores(batch) for batch in batches]
    with Tagger.load(colours, name, workers=3) as tagger, ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda turn: tagger.scores(batches[turn % 5]), range(100)))
    for turn, scores in enumerate(found):
        np.testing.assert_allclose(scores, expected[turn % 5], rtol=0, atol=1e-6)


def test_a_tagger_has_at_least_one_worker(colours: Path) -> None:
    with pytest.raises(ValueError, match="workers: expected at least 1, got 0"):
        Tagger.load(colours, "onnxruntime-fp32", workers=0)


def test_a_closed_tagger_says_so(colours: Path) -> None:
    with Tagger.load(colours, "onnxruntime-fp32") as tagger:
        pass
    with pytest.raises(ValueError, match="expected an open tagger, got a closed one; load the bundle again"):
        tagger.scores(np.zeros((1, bundles.PX, bundles.PX, 3), np.uint8))
