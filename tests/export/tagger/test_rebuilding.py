"""Engines that the device builds for itself, with a real runtime."""

import errno
import fcntl
import shutil
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from export.backends import OpenVino, TensorRt
from export.bundle.bundle import read_bundle
from export.errors import NoEngineError
from export.tagger import Tagger, rebuilding
from tests.helpers.small_disk import largest_file

OPENVINO = "openvino-fp32"
Never = Callable[[type, str], None]  # the fixture: a method that must not be called
REFUSED = r"`info --rebuild` or `tag --rebuild` builds it on this device"


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file and folder with the time of its last change."""
    found = [folder, *folder.rglob("*")]
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"") for path in found}


def builds(cache: Path) -> list[Path]:
    return sorted(file.parent for file in cache.glob("*/*/sha256sums"))


@pytest.mark.parametrize("name", [OPENVINO, "onnxruntime-fp32"])
def test_a_rebuilt_engine_is_the_fresh_compile(
    stale: Path, cache: Path, tmp_path: Path, pixels: NDArray[np.uint8], name: str
) -> None:
    before = contents(stale)
    with Tagger.load(stale, name, rebuild=True) as tagger:
        scores = tagger.scores(pixels)
        assert tagger.rebuilt is not None
        assert cache in tagger.rebuilt.parents
        assert tagger.choice.entry == read_bundle(stale).engine(name)  # the thresholds too
    assert contents(stale) == before
    backend = tagger.choice.backend
    with backend.open(backend.compile(stale / "models/fp32.onnx", tmp_path / "fresh")) as fresh:
        np.testing.assert_array_equal(scores, fresh(pixels))
    expected = 1 / (1 + np.exp(6 - 6 * pixels.astype(np.float64).mean((1, 2)) / 255))
    np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_the_next_start_takes_the_rebuilt_engine_without_building(stale: Path, cache: Path, never: Never) -> None:
    Tagger.load(stale, OPENVINO, rebuild=True).close()
    never(OpenVino, "compile")
    for rebuild in (False, True):
        with Tagger.load(stale, OPENVINO, threads=2, rebuild=rebuild) as tagger:
            assert tagger.rebuilt == builds(cache)[0] / "fp32.xml"
    with Tagger.load(stale) as tagger:  # the only one that opens
        assert tagger.choice.entry.name == OPENVINO


def test_a_build_that_is_interrupted_leaves_nothing_to_open(
    stale: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compile_engine = OpenVino.compile

    def interrupted(backend: OpenVino, model: Path, out_dir: Path) -> Path:
        compile_engine(backend, model, out_dir)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(OpenVino, "compile", interrupted)
        with pytest.raises(KeyboardInterrupt):
            Tagger.load(stale, OPENVINO, rebuild=True)
    assert builds(cache) == list(cache.glob("*/.partial")) == []
    with pytest.raises(NoEngineError, match=REFUSED):
        Tagger.load(stale, OPENVINO)
    Tagger.load(stale, OPENVINO, rebuild=True).close()


@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "sums", "no text"])
def test_a_damaged_rebuilt_engine_never_reaches_the_runtime_and_is_built_again(
    stale: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    Tagger.load(stale, OPENVINO, rebuild=True).close()
    weights, sums = builds(cache)[0] / "fp32.bin", builds(cache)[0] / "sha256sums"
    content = weights.read_bytes()
    {
        "flip": lambda: weights.write_bytes(bytes([content[0] ^ 1]) + content[1:]),
        "cut": lambda: weights.write_bytes(content[:-1]),
        "gone": weights.unlink,
        "sums": lambda: sums.write_text(""),
        "no text": lambda: sums.write_bytes(b"\xff" + sums.read_bytes()),
    }[damage]()
    with monkeypatch.context() as patched:
        patched.setattr(OpenVino, "open", lambda *_: pytest.fail("the runtime got a damaged engine"))
        with pytest.raises(NoEngineError, match=REFUSED):
            Tagger.load(stale, OPENVINO)
    Tagger.load(stale, OPENVINO, rebuild=True).close()
    assert weights.read_bytes() == content


def test_of_two_that_build_one_waits_for_the_other(stale: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compile_engine, lock, second, calls = OpenVino.compile, fcntl.flock, threading.Event(), []
    arrived: list[Any] = []

    def slow(backend: OpenVino, model: Path, out_dir: Path) -> Path:
        calls.append(out_dir)
        assert second.wait(60), "the second did not come to the lock"
        return compile_engine(backend, model, out_dir)

    def at_the_lock(file: Any, operation: int) -> None:
        if operation & fcntl.LOCK_EX:
            arrived.append(file)
            if len(arrived) == 2:
                second.set()
        lock(file, operation)

    monkeypatch.setattr(OpenVino, "compile", slow)
    monkeypatch.setattr(fcntl, "flock", at_the_lock)
    opened: list[Tagger] = []
    load = partial(Tagger.load, stale, OPENVINO, rebuild=True)
    threads = [threading.Thread(target=lambda: opened.append(load())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 2
    assert len(calls) == len(builds(cache)) == 1
    for tagger in opened:
        tagger.close()


def test_a_cache_that_cannot_be_written_is_named(stale: Path, cache: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("not a folder")
    message = rf"{cache}/\w+: expected a writable folder for a rebuilt engine, got: .*XDG_CACHE_HOME"
    with pytest.raises(OSError, match=message):
        Tagger.load(stale, OPENVINO, rebuild=True)
    with pytest.raises(NoEngineError, match=REFUSED):
        Tagger.load(stale, OPENVINO)


def test_a_cache_without_room_is_named(stale: Path, cache: Path) -> None:
    text = rf"{cache}/\w+: expected a writable folder .*free some space"
    with largest_file(600), pytest.raises(OSError, match=text) as raised:
        Tagger.load(stale, OPENVINO, rebuild=True)
    assert isinstance(raised.value.__cause__, OSError)
    assert raised.value.errno == raised.value.__cause__.errno in (errno.ENOSPC, errno.EFBIG)
    assert builds(cache) == list(cache.glob("*/.partial")) == []


def test_a_build_that_vanishes_while_it_is_looked_at_is_built_again(
    stale: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Tagger.load(stale, OPENVINO, rebuild=True).close()
    found = rebuilding.builds

    def vanishing(key: str) -> list[Path]:
        there = found(key)
        for build in there:
            shutil.rmtree(build)
        return there

    monkeypatch.setattr(rebuilding, "builds", vanishing)
    Tagger.load(stale, OPENVINO, rebuild=True).close()
    assert len(builds(cache)) == 1


def test_a_cache_that_others_may_write_is_not_used(
    stale: Path, cache: Path, never: Never, caplog: pytest.LogCaptureFixture
) -> None:
    Tagger.load(stale, OPENVINO, rebuild=True).close()
    assert [path.stat().st_mode & 0o777 for path in (cache, builds(cache)[0].parent)] == [0o700, 0o700]
    builds(cache)[0].parent.chmod(0o777)
    never(OpenVino, "open")
    with pytest.raises(NoEngineError, match=REFUSED):
        Tagger.load(stale, OPENVINO)
    assert f"ignored: {builds(cache)[0].parent}: expected a folder that belongs to" in caplog.text
    with pytest.raises(PermissionError, match=r"others may not write, .* mode 777; .*XDG_CACHE_HOME"):
        Tagger.load(stale, OPENVINO, rebuild=True)


def test_a_user_without_a_home_can_use_what_was_shipped(
    colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def none() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", none)
    monkeypatch.setattr(
        TensorRt, "unavailable_reason", lambda backend: None if backend.compute_capability == "device" else "SM86"
    )
    with Tagger.load(colours) as tagger:
        assert tagger.choice.entry.name == "onnxruntime-fp32"
    assert "set HOME" in caplog.text


def test_an_error_of_opening_is_not_blamed_on_the_cache(stale: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise OSError(errno.ENOENT, "libfoo.so: cannot open shared object file")

    monkeypatch.setattr(OpenVino, "open", fails)
    with pytest.raises(FileNotFoundError) as raised:
        Tagger.load(stale, OPENVINO, rebuild=True)
    assert raised.value.strerror == "libfoo.so: cannot open shared object file"


def test_a_system_without_file_locks_says_what_to_do_instead(stale: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)  # as on Windows
    with pytest.raises(NoEngineError, match=r"expected a system that locks files .*; use an engine that runs without"):
        Tagger.load(stale, OPENVINO, rebuild=True)
