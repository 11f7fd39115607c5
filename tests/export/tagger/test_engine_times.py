"""Which engine is the fastest here: measured once, and remembered for this bundle, machine and runtimes."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from export.backends import OnnxRuntime, OpenVino, Session, host
from export.bundle.bundle import read_bundle
from export.errors import NoEngineError
from export.tagger import Tagger, engine_times
from export.tagger.engine_times import cached_times, measure_engines, p50_ms
from tests.helpers import bundles
from tests.helpers.stopwatch import Stopwatch, loaded, timed

ROOT = Path(__file__).parents[3]
ONNXRUNTIME, OPENVINO, TENSORRT = "onnxruntime-fp32", "openvino-fp32", "tensorrt-fp16-sm86"


def test_the_fastest_is_measured_once_and_remembered(colours: Path, stopwatch: Stopwatch) -> None:
    assert cached_times(colours, read_bundle(colours)) is None
    name, why = loaded(colours)
    assert name == OPENVINO
    assert why.startswith(f"the fastest on this machine, 1.00 ms measured here on {time.strftime('%Y-%m-%d')}")
    assert f"not {TENSORRT}: " in why
    assert len(stopwatch.timed) == 2
    assert loaded(colours) == (name, why)
    assert len(stopwatch.timed) == 2
    found = cached_times(colours, read_bundle(colours))
    assert found is not None
    assert found.p50_ms == {ONNXRUNTIME: 2.0, OPENVINO: 1.0}


def test_engines_are_timed_on_the_golden_images_one_at_a_time(colours: Path, stopwatch: Stopwatch) -> None:
    loaded(colours)
    manifest = read_bundle(colours)
    with np.load(colours / manifest.golden_expected) as stored:
        expected = [stored[f"pixels_{number}"][None] for number in range(len(manifest.golden))]
    assert len(expected) > 1
    np.testing.assert_array_equal(np.stack(stopwatch.images), np.stack(expected))


def test_an_engine_asked_for_by_name_is_not_measured(colours: Path, cache: Path, stopwatch: Stopwatch) -> None:
    assert loaded(colours, engine=ONNXRUNTIME) == (ONNXRUNTIME, "requested")
    assert not stopwatch.timed
    assert not cache.parent.exists()


def another_bundle(folder: Path, _: pytest.MonkeyPatch, out: Path) -> Path:
    return bundles.with_manifest(folder, out, recipe="another")


def another_machine(folder: Path, monkeypatch: pytest.MonkeyPatch, _: Path) -> Path:
    monkeypatch.setattr(host, "identity", lambda: {"cpu": "another"})
    return folder


def another_version(folder: Path, monkeypatch: pytest.MonkeyPatch, _: Path) -> Path:
    monkeypatch.setattr(host, "installed", lambda: ["openvino-2099.1.dist-info"])
    return folder


@pytest.mark.parametrize("change", [another_bundle, another_machine, another_version])
def test_what_is_remembered_holds_for_one_bundle_machine_and_set_of_runtimes(
    colours: Path,
    tmp_path: Path,
    stopwatch: Stopwatch,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Path, pytest.MonkeyPatch, Path], Path],
) -> None:
    loaded(colours)
    stopwatch.openvino_ms = 3.0
    assert loaded(change(colours, monkeypatch, tmp_path / "another"))[0] == ONNXRUNTIME
    assert loaded(colours, threads=2)[0] == ONNXRUNTIME


def with_times(colours: Path, out: Path, **changes: Any) -> Path:
    """The bundle as measured on this machine, but for `changes`; ONNX Runtime is the faster one."""
    here = {**host.identity(), "runtimes": host.runtimes(), **changes}
    engines = timed(read_bundle(colours), {ONNXRUNTIME: 0.5, OPENVINO: 0.7, TENSORRT: None})
    return bundles.with_manifest(colours, out, engines=engines, measured=True, measured_on=here)


def test_a_bundle_that_was_measured_on_this_machine_is_not_timed_again(
    colours: Path, tmp_path: Path, stopwatch: Stopwatch
) -> None:
    here = with_times(colours, tmp_path / "here")
    for _ in range(2):
        name, why = loaded(here)
        assert name == ONNXRUNTIME
        assert why.startswith("the fastest on this machine, 0.50 ms measured with the bundle; not ")
    assert not stopwatch.timed


@pytest.mark.parametrize("change", [{"cpu": "another"}, {"runtimes": {"openvino": "1999.1"}}, {"runtimes": None}])
def test_times_of_another_machine_or_version_do_not_count(
    colours: Path, tmp_path: Path, stopwatch: Stopwatch, change: dict[str, Any]
) -> None:
    assert loaded(with_times(colours, tmp_path / "there", **change))[0] == OPENVINO
    assert len(stopwatch.timed) == 2


@pytest.mark.parametrize("fault", ["refuses", "is off", "raises at its first run"])
def test_an_engine_that_was_measured_here_and_fails_now_is_left_for_the_next(
    colours: Path, tmp_path: Path, stopwatch: Stopwatch, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    right = OnnxRuntime.open

    def failing(*given: Any) -> Session:
        if fault == "refuses":
            raise OSError("libgomp.so.1: cannot open shared object file")
        session = right(*given)
        run = session._run
        off = (lambda images: run(images) / 2) if fault == "is off" else fails
        monkeypatch.setattr(session, "_run", off)
        return session

    monkeypatch.setattr(OnnxRuntime, "open", failing)
    name, why = loaded(with_times(colours, tmp_path / "here"))
    assert name == OPENVINO
    got = {"refuses": "libgomp.so.1: cannot open", "is off": "wrong tags on this machine", fails: ""}.get(
        fault, "out of"
    )
    assert f"{ONNXRUNTIME}: {got}" in why


def test_an_engine_that_is_built_later_is_measured_too(stale: Path, stopwatch: Stopwatch) -> None:
    assert not _opens(stale)
    Tagger.load(stale, ONNXRUNTIME, rebuild=True).close()
    assert loaded(stale)[0] == ONNXRUNTIME
    Tagger.load(stale, OPENVINO, rebuild=True).close()
    assert loaded(stale)[0] == OPENVINO


def _opens(folder: Path) -> bool:
    return bool(measure_engines(folder, read_bundle(folder)).p50_ms)  # type: ignore[union-attr]


def test_with_rebuild_what_can_be_built_is_measured(stale: Path, stopwatch: Stopwatch) -> None:
    assert not _opens(stale)
    assert loaded(stale, rebuild=True)[0] == OPENVINO
    assert len(stopwatch.timed) == 2
    assert loaded(stale)[0] == OPENVINO
    assert len(stopwatch.timed) == 2


def fails(*_: object) -> Session:
    raise RuntimeError("out of\nmemory")


def test_an_engine_that_fails_is_left_out_with_its_reason(
    colours: Path, stopwatch: Stopwatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OpenVino, "open", fails)
    name, why = loaded(colours)
    assert name == ONNXRUNTIME
    assert f"; {OPENVINO}: out of memory" in why


def test_an_engine_that_failed_once_is_tried_again_when_that_is_asked_for(
    colours: Path, stopwatch: Stopwatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(OpenVino, "open", fails)
        assert loaded(colours)[0] == ONNXRUNTIME
    assert loaded(colours)[0] == ONNXRUNTIME
    assert measure_engines(colours, read_bundle(colours), again=True).unusable.keys() == {TENSORRT}  # type: ignore[union-attr]
    assert loaded(colours)[0] == OPENVINO


def test_a_measurement_in_which_nothing_ran_is_not_remembered(
    colours: Path, stopwatch: Stopwatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        for backend in (OnnxRuntime, OpenVino):
            patched.setattr(backend, "open", fails)
        with pytest.raises(NoEngineError, match="out of memory"):
            Tagger.load(colours)
    assert loaded(colours)[0] == OPENVINO


def test_an_engine_that_tags_wrongly_here_is_left_out(
    colours: Path, stopwatch: Stopwatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that saturates where it did not, or has the channels in another order."""
    right = OpenVino.open

    def wrong(*given: Any) -> Session:
        session = right(*given)
        run = session._run
        monkeypatch.setattr(session, "_run", lambda images: run(np.ascontiguousarray(images[..., ::-1])))
        return session

    monkeypatch.setattr(OpenVino, "open", wrong)
    name, why = loaded(colours)
    assert name == ONNXRUNTIME
    told = (
        f"; {OPENVINO}: wrong tags on this machine: expected the scores of its self-test within 0.001, got scores that"
    )
    assert f"{told} differ by 1" in why


def test_the_median_after_one_to_warm_up_within_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_times, "MEASURED_S", 20.0)
    takes = iter([100.0, 1.0, 2.0, 9.0, 3.0, 6.0, 1000.0])  # seconds a query, the first not timed
    clock, seen = [0.0], list[int]()

    def query(image: NDArray[np.uint8]) -> None:
        seen.append(int(image[0]))
        clock[0] += next(takes)

    images = [np.array([number], np.uint8) for number in range(2)]
    assert p50_ms(query, images, clock=lambda: clock[0]) == 3000.0  # of 1, 2, 9, 3, 6
    assert seen == [0, 0, 1, 0, 1, 0]


def test_an_engine_slower_than_the_time_for_it_is_timed_once() -> None:
    clock = [0.0]

    def query(_: NDArray[np.uint8]) -> None:
        clock[0] += 7.0

    assert p50_ms(query, [np.zeros(1, np.uint8)], clock=lambda: clock[0]) == 7000.0
    assert clock[0] == 14.0
