from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.device import throughput
from export.backends import RuntimeInfo, Session


def search(rates: dict[tuple[int, int], float], cores: int, most: int | None = None) -> throughput.Throughput:
    return throughput.search(lambda batch, streams: rates.get((batch, streams), 0.0), cores, most)


def test_the_best_of_all_that_was_tried_wins() -> None:
    rates = {(1, 1): 100.0, (2, 1): 150.0, (4, 1): 149.0, (8, 1): 160.0, (16, 1): 100.0, (1, 2): 190.0, (2, 2): 280.0}
    found = search(rates, cores=2)
    assert (found.batch, found.streams, found.images_per_second) == (2, 2, 280.0)
    tried = [trial[:2] for trial in found.tried]
    assert tried == [(1, 1), (2, 1), (4, 1), (8, 1), (16, 1), (1, 2), (2, 2), (4, 2)]


def test_what_a_search_has_found_is_measured_again_without_its_bias() -> None:
    """Equally fast settings whose trials scatter by 5 %: the best of a search is a lucky one."""
    noise = np.random.default_rng(0)
    found = [throughput.search(lambda *_: noise.normal(100, 5), 4) for _ in range(200)]
    again = [throughput.again(lambda *_: noise.normal(100, 5), one.batch, one.streams) for one in found]
    assert np.mean([one.images_per_second for one in found]) > 104
    assert np.mean([one.images_per_second for one in again]) == pytest.approx(100, abs=1)
    assert [(one.batch, one.streams) for one in again] == [(one.batch, one.streams) for one in found]


def test_again_is_the_median_at_the_setting_named() -> None:
    rates, asked = iter([90.0, 300.0, 110.0]), []
    found = throughput.again(lambda *setting: asked.append(setting) or next(rates), 8, 2)
    assert asked == [(8, 2)] * 3
    assert found.images_per_second == 110.0
    assert found.tried == [(8, 2, 90.0), (8, 2, 300.0), (8, 2, 110.0)]


def test_streams_end_where_one_more_gives_nothing() -> None:
    rates = {(batch, streams): 100.0 for batch in throughput.BATCHES for streams in range(1, 9)}
    found = search(rates, cores=8)
    assert {streams for _, streams, _ in found.tried} == {1, 2}


def test_an_engine_of_small_batches_is_tried_with_those() -> None:
    rates = {(batch, streams): float(batch * streams) for batch in throughput.BATCHES for streams in range(1, 4)}
    found = search(rates, cores=3, most=5)
    assert (found.batch, found.streams, found.images_per_second) == (4, 3, 12.0)
    assert max(batch for batch, _, _ in found.tried) == 4


def test_a_rate_counts_the_images_of_all_streams_over_the_time_of_the_last() -> None:
    moments = {"fast": iter([0.0, 0.4, 1.0, 1.0]), "slow": iter([0.0, 3.0, 4.0])}
    mine, turns = threading.local(), threading.Lock()
    counts = {"fast": 0, "slow": 0}

    def stream(name: str) -> Callable[[], None]:
        def query() -> None:
            mine.name = name
            with turns:
                counts[name] += 1

        return query

    found = throughput.rate([stream("fast"), stream("slow")], 8, 1.0, clock=lambda: next(moments[mine.name]))
    assert counts == {"fast": 3, "slow": 2}  # one each before the clock starts
    assert found == 8 * (2 + 1) / 4.0


def test_streams_run_at_once() -> None:
    together = threading.Barrier(3, timeout=10)
    calls = threading.local()

    def query() -> None:
        calls.count = getattr(calls, "count", 0) + 1
        if calls.count == 2:  # the first one timed
            together.wait()

    assert throughput.rate([query] * 3, 1, 0.0) > 0


def test_a_stream_that_fails_tells_why_and_stops_the_others() -> None:
    def fails() -> None:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        throughput.rate([fails, lambda: time.sleep(0.001)], 1, 0.01)


class Fake(Session):
    closed = 0

    def __init__(self) -> None:
        super().__init__(Path("fake"), RuntimeInfo(provider="", device="", compute="", version="", placed=1), (4, 4, 3))
        self.users: set[int] = set()
        self.batches: list[int] = []

    def __enter__(self) -> Fake:
        return self

    def _run(self, images: np.ndarray) -> np.ndarray:
        self.users.add(threading.get_ident())
        self.batches.append(len(images))
        time.sleep(0.001)
        return np.zeros((len(images), 1), dtype=np.float32)

    def _release(self) -> None:
        Fake.closed += 1


def test_every_stream_has_a_session_and_a_thread_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput, "TRIAL_S", 0.01)
    opened: list[Fake] = []

    def open_session() -> Fake:
        opened.append(Fake())
        return opened[-1]

    before = Fake.closed
    pixels = [np.zeros((1, 4, 4, 3), dtype=np.uint8)] * 3
    with throughput.trials(open_session, pixels) as trial:
        assert trial(5, 2) > 0
        first, second = (session.users for session in opened)
        assert len(first) == len(second) == 1
        assert first != second
        assert trial(2, 1) > 0
    assert len(opened) == 2
    assert opened[0].batches[0] == 5
    assert opened[0].batches[-1] == 2
    assert set(opened[1].batches) == {5}
    assert Fake.closed - before == 2
