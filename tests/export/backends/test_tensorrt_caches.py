"""What is kept from one build for the next."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from export import stamp
from export.backends import TensorRt, tensorrt, tensorrt_build, tensorrt_caches

rtx = pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX has wheels for x86-64 Linux only")
NO_OP = pytest.mark.filterwarnings("ignore:Use Deprecated in TensorRT-RTX:DeprecationWarning")


@NO_OP
def test_timings_reach_the_next_build(halved: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Through TensorRT for RTX, which takes and gives timings that are always empty."""
    file = tmp_path / "kept" / "some.timings"
    tensorrt_build.build(rtx, halved, "SM86", file)
    assert file.stat().st_size > 0
    assert "Failed to deserialize timing cache" not in caplog.text
    file.write_bytes(b"damaged" * 9)
    assert len(tensorrt_build.build(rtx, halved, "SM86", file)) > 100_000
    assert "Failed to deserialize timing cache" in caplog.text, "the library did not get what was kept"
    assert not file.read_bytes().startswith(b"damaged")


@NO_OP
def test_timings_that_cannot_be_kept(halved: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_bytes(b"")
    tensorrt_build.build(rtx, halved, "SM86", tmp_path / "file" / "some.timings")
    assert "the next start or build is as slow" in caplog.text


@pytest.mark.parametrize("damaged", [True, False], ids=["damaged", "another GPU's"])
def test_stale_timings_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture, damaged: bool) -> None:
    """The full library's answers, which no machine without a GPU can give."""
    given: list[bytes] = []

    class Config:
        def create_timing_cache(self, content: bytes) -> bytes | None:
            return None if content and damaged else content

        def set_timing_cache(self, cache: bytes, ignore_mismatch: bool) -> bool:
            assert not ignore_mismatch
            given.append(cache)
            return not cache

    (tmp_path / "stale.timings").write_bytes(b"stale")
    tensorrt_caches.load_timings(Config(), tmp_path / "stale.timings")
    assert given[-1] == b""
    assert "expected timings of this GPU and version" in caplog.text


def test_only_the_full_library_measures(
    halved: Path, tmp_path: Path, gpu: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real library under the other's name, up to the build, which needs the GPU."""
    asked: list[tuple[str | None, Path | None]] = []

    def build(library: Any, model: Path, capability: str | None, timings: Path | None) -> bytes:
        asked.append((capability, timings))
        return b"plan"

    monkeypatch.setattr(tensorrt, "build", build)
    gpu("SM86")
    TensorRt().compile(halved, tmp_path)
    full = type(sys)("tensorrt")
    full.__dict__.update({name: value for name, value in vars(rtx).items() if name != "__name__"})
    full.__version__ = "10.3.0"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tensorrt", full)
    gpu("SM87")
    engine = TensorRt(compute_capability="device").compile(halved, tmp_path)
    assert asked == [("SM86", None), (None, tmp_path / "tensorrt-10.3.0-sm87.timings")]
    assert engine.name == "fp16-sm87.plan"
    assert (stamp.read(engine).runtime, stamp.read(engine).device) == ("tensorrt 10.3.0", "SM87")
