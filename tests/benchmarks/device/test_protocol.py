from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from benchmarks.device import timing
from benchmarks.device.output import Energy
from benchmarks.device.protocol import Chain, Settings, measure, sustain
from benchmarks.device.sensors import Sensors


class Machine:
    """A chain on a clock of its own: decode 3 ms, resize 1 ms, the engine `engine_ms`, post 0.5 ms."""

    def __init__(self, engine_ms: float = 5.0) -> None:
        self.now, self.engine_ms, self.slower = 0, engine_ms, 0.0
        self.seen: list[bytes] = []
        self.shapes: set[tuple[int, ...]] = set()

    def clock(self) -> int:
        return self.now

    def _take(self, milliseconds: float) -> None:
        self.now += round(milliseconds * 1e6)

    def decode(self, content: bytes) -> bytes:
        self.seen.append(content)
        self._take(3)
        return content

    def resize(self, image: bytes) -> np.ndarray:
        self._take(1)
        return np.full((2, 2, 3), len(image), dtype=np.uint8)

    def scores(self, pixels: np.ndarray) -> np.ndarray:
        self._take(self.engine_ms)
        self.engine_ms += self.slower
        self.shapes.add(pixels.shape)
        return np.zeros((len(pixels), 4), dtype=np.float32)

    def decide(self, scores: np.ndarray) -> list[str]:
        assert scores.shape == (4,)
        self._take(0.5)
        return []

    def chain(self) -> Chain:
        return Chain(decode=self.decode, resize=self.resize, scores=self.scores, decide=self.decide)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Its clock is the one that everything reads."""
    device = Machine()
    for function in (timing.warm_up, timing.time_queries, timing.repeated):
        defaults = dict(function.__kwdefaults__ or {})
        if "clock" in defaults:
            monkeypatch.setitem(function.__kwdefaults__, "clock", device.clock)
        else:
            monkeypatch.setattr(function, "__defaults__", (*function.__defaults__[:-1], device.clock))
    return device


def test_a_query_is_the_whole_chain_and_the_engine_is_timed_alone(device: Machine, tmp_path: Path) -> None:
    content = [b"a", b"bb", b"ccc"]
    found = measure(device.chain(), content, Settings(queries=7), Sensors(root=tmp_path, nvml=None))
    assert asdict(found.samples) == {
        "end_to_end_ms": [9.5] * 7,
        "decode_ms": [3.0] * 7,
        "resize_ms": [1.0] * 7,
        "infer_ms": [5.0] * 7,
        "post_ms": [0.5] * 7,
        "engine_ms": [5.0] * 7,
    }
    assert found.first_ms == 9.5
    assert found.warm_up == timing.WarmUp(True, 48, pytest.approx(48 * 9.5 / 1e3))
    assert device.shapes == {(1, 2, 2, 3)}
    assert device.seen[49:56] == [b"a", b"bb", b"ccc", b"a", b"bb", b"ccc", b"a"]  # after the first and the warm-up
    assert (found.energy, found.sustained, found.gpu_memory_mb) == (None, None, None)


def test_queries_go_on_for_the_least_time(device: Machine, tmp_path: Path) -> None:
    settings = Settings(queries=7, least_s=0.19, warm_up_s=0)
    found = measure(device.chain(), [b"a"], settings, Sensors(root=tmp_path, nvml=None))
    assert len(found.samples.end_to_end_ms) == 20
    assert len(found.samples.engine_ms) == 38
    assert not found.warm_up.settled


def test_energy_is_that_of_the_end_to_end_queries(device: Machine, tmp_path: Path) -> None:
    class Counting(Sensors):
        def energy(self) -> dict[str, tuple[float, float]]:
            return {"meter": (device.now / 1e6, 1e12)}  # one watt

    found = measure(device.chain(), [b"a"], Settings(queries=7, warm_up_s=0), Counting(root=tmp_path, nvml=None))
    assert found.energy == Energy(mj_per_query=pytest.approx(9.5), meter="meter")


def test_a_sustained_run_shows_that_a_machine_gets_slower(device: Machine, tmp_path: Path) -> None:
    device.slower = 0.1  # each query
    found = sustain(device.chain(), [b"a"], 10.0, Sensors(root=tmp_path, nvml=None))
    times: list[float] = []
    while sum(times) < 10_000:
        times.append(9.5 + 0.1 * len(times))
    assert found.seconds == pytest.approx(sum(times) / 1e3)
    assert found.p50 == pytest.approx(np.median(times))
    tenth = sum(times) / 10
    first = [value for place, value in enumerate(times) if sum(times[:place]) < tenth]
    last = [value for place, value in enumerate(times) if sum(times[place + 1 :]) < tenth]
    assert found.first_p90 == pytest.approx(np.percentile(first, 90))
    assert found.last_p90 == pytest.approx(np.percentile(last, 90))


@pytest.mark.parametrize("change", [{"queries": 0}, {"threads": 0}, {"least_s": -1.0}, {"sustained_s": float("inf")}])
def test_settings_out_of_range_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="bench: expected"):
        Settings(**change)
