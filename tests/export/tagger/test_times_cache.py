"""What is remembered survives processes that end, and what cannot be remembered is no failure."""

import errno
import json
import logging
import os
import platform
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from export.backends import OpenVino, Session
from export.bundle.bundle import read_bundle
from export.tagger import EngineTimes, Tagger
from export.tagger.engine_times import cached_times, measure_engines
from export.tagger.times_cache import exclusive, file_of
from tests.helpers import bundles
from tests.helpers.stopwatch import Stopwatch, loaded, timed

ROOT = Path(__file__).parents[3]
ONNXRUNTIME, OPENVINO, TENSORRT = "onnxruntime-fp32", "openvino-fp32", "tensorrt-fp16-sm86"


def test_an_interrupted_measurement_is_no_engine_that_ends_the_process(
    colours: Path, stopwatch: Stopwatch, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def interrupted(*_: object) -> Session:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(OpenVino, "open", interrupted)
        for _ in range(3):
            with pytest.raises(KeyboardInterrupt):
                Tagger.load(colours)
    caplog.clear()
    with caplog.at_level(logging.INFO, "export.tagger"):
        assert loaded(colours)[0] == OPENVINO
    assert caplog.messages == ["engines are timed once; the next start is faster"]


DIES = """
import os, signal, sys
from export.backends import OpenVino
from export.tagger import Tagger, engine_times
engine_times.MEASURED_S = 0.001
OpenVino.open = lambda *_: os.kill(os.getpid(), getattr(signal, sys.argv[2]))
Tagger.load(sys.argv[1])
"""


@pytest.mark.skipif(os.name != "posix", reason="a process that a signal ends")
def test_an_engine_that_ends_the_process_is_found_out(
    colours: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The instruction that an old CPU lacks, or a broken driver: no Python error can be caught."""
    for name in ("SIGILL", "SIGSEGV"):
        died = subprocess.run([sys.executable, "-c", DIES, str(colours), name], cwd=ROOT, check=False)
        assert died.returncode == -signal.Signals[name]
    (record,) = cache.parent.glob("fastest/*.json")
    monkeypatch.setattr(OpenVino, "open", lambda *_: pytest.fail("it would end this process too"))
    for _ in range(2):
        name, why = loaded(colours)
        assert name == ONNXRUNTIME
        assert f"{OPENVINO}: it crashed the process 2 times" in why
        assert f"delete {record} to test it again" in why


def test_without_a_cache_the_bundles_own_times_hold(
    colours: Path, tmp_path: Path, stopwatch: Stopwatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of a machine like this; each engine that is taken is checked first."""
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    engines = timed(read_bundle(colours), {ONNXRUNTIME: 0.5, OPENVINO: 0.4, TENSORRT: None})
    for architecture, expected in ((platform.machine(), OPENVINO), ("another", ONNXRUNTIME)):
        facts = {"engines": engines, "measured_on": {"architecture": architecture}}
        name, why = loaded(bundles.with_manifest(colours, tmp_path / architecture, **facts))
        assert name == expected
        if expected == OPENVINO:
            assert why == "the fastest on a machine like this, 0.40 ms measured with the bundle"
    right = OpenVino.open

    def off(*given: Any) -> Session:
        session = right(*given)
        run = session._run
        monkeypatch.setattr(session, "_run", lambda images: run(images) / 2)
        return session

    monkeypatch.setattr(OpenVino, "open", off)
    name, why = loaded(tmp_path / platform.machine())
    assert name == ONNXRUNTIME
    assert f"{OPENVINO}: wrong tags on this machine: " in why
    assert not stopwatch.timed


def test_without_a_cache_the_bundles_order_holds_and_one_warning_says_so(
    colours: Path,
    tmp_path: Path,
    stopwatch: Stopwatch,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING):
        name, why = loaded(colours)
    assert name == ONNXRUNTIME
    assert why.startswith("the first in the bundle's order that runs here; not ")
    assert not stopwatch.timed
    (warning,) = caplog.messages
    assert warning.startswith("no usable cache on this device, engines are not timed: ")
    assert str(tmp_path / "file") in warning
    assert warning.count("XDG_CACHE_HOME") == 1
    assert cached_times(colours, read_bundle(colours)) is None


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such modes")
def test_a_cache_that_others_may_write_is_said_with_one_way_out(
    colours: Path, cache: Path, stopwatch: Stopwatch, caplog: pytest.LogCaptureFixture
) -> None:
    place = cache.parent / "fastest"
    place.mkdir(parents=True)
    place.chmod(0o777)
    with caplog.at_level(logging.WARNING):
        assert loaded(colours)[0] == ONNXRUNTIME
    (warning,) = caplog.messages
    assert f"{place}: expected a folder that belongs to user" in warning
    assert warning.count("XDG_CACHE_HOME") == 1


def test_a_full_disk_is_no_failure(
    colours: Path, stopwatch: Stopwatch, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("export.tagger.times_cache.write_file", full)
    with caplog.at_level(logging.WARNING):
        assert loaded(colours)[0] == ONNXRUNTIME
    assert "No space left on device" in caplog.messages[0]


DAMAGED = (
    "",
    "{",
    "[]",
    '{"built": []}',
    '{"speed": 3}',
    '{"built": [], "when": "2026-11-23", "p50_ms": {"openvino-fp32": "fast"}}',
    '{"built": [], "when": "2026-11-23", "p50_ms": {}, "crashes": {"openvino-fp32": "x"}}',
    '{"built": [], "when": "2026-11-23", "p50_ms": {"openvino-fp32": 1.0}, "unusable": {"onnxruntime-fp32": 3}}',
    '{"built": [], "when": "2026-11-23", "p50_ms": {"openvino-fp32": 1.0}, "rebuild": "no"}',
    '{"built": 3, "when": "2026-11-23", "p50_ms": {"openvino-fp32": 1.0}}',
    '{"built": [], "when": "2026-11-23", "p50_ms": {"openvino-fp32": NaN}}',
    '{"built": [], "when": "2026-11-23", "p50_ms": {"openvino-fp32": -1.0}}',
    '{"built": [], "when": "2026-11-23", "p50_ms": {"nope": 1.0}}',
    "[" * 100_000,
)


def test_a_damaged_record_is_measured_again(colours: Path, cache: Path, stopwatch: Stopwatch) -> None:
    loaded(colours)
    (record,) = cache.parent.glob("fastest/*.json")
    manifest = read_bundle(colours)
    assert cached_times(colours, manifest) is not None
    for content in DAMAGED:
        record.write_text(content)
        assert cached_times(colours, manifest) is None, content[:100]
    record.unlink()
    (record / "a folder").mkdir(parents=True)
    assert loaded(colours)[0] == OPENVINO
    assert len(stopwatch.timed) == 4
    assert json.loads(record.read_text())["p50_ms"] == {ONNXRUNTIME: 2.0, OPENVINO: 1.0}


def test_what_is_found_with_other_packages_is_kept_apart(colours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken runtime on PYTHONPATH must not keep a sound one from being used later."""
    monkeypatch.delenv("PYTHONPATH", raising=False)
    plain = file_of(colours, None)
    monkeypatch.setenv("PYTHONPATH", "/broken")
    assert file_of(colours, None) != plain


@pytest.mark.skipif(os.name != "posix", reason="a system without fcntl does not wait")
def test_who_waits_for_another_says_so(colours: Path, stopwatch: Stopwatch, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "export.tagger"), exclusive(file_of(colours, None)):
        waiting = threading.Thread(target=loaded, args=(colours,))
        waiting.start()
        waiting.join(timeout=0.5)
        assert waiting.is_alive()
        assert caplog.messages == ["another process times the engines; waiting for it"]
    waiting.join()
    assert len(stopwatch.timed) == 2


@pytest.mark.skipif(os.name != "posix", reason="a system without fcntl does not wait")
def test_of_several_that_start_at_once_one_measures(colours: Path, stopwatch: Stopwatch) -> None:
    manifest, found = read_bundle(colours), list[EngineTimes | None]()
    threads = [threading.Thread(target=lambda: found.append(measure_engines(colours, manifest))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(stopwatch.timed) == 2
    assert len(found) == 4
    assert all(one == found[0] is not None for one in found)
