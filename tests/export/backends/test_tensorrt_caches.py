"""What is kept from one build for the next."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from export.backends import TensorRt, stamp, tensorrt, tensorrt_build, tensorrt_caches
from tests.helpers.convolutions import write_convolutions

rtx = pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX has wheels for x86-64 Linux only")
NO_OP = pytest.mark.filterwarnings("ignore:Use Deprecated in TensorRT-RTX:DeprecationWarning")


TIMINGS = Path("timings", "some")


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of the cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "edge-tagger"


@NO_OP
@pytest.mark.slow
def test_timings_reach_the_next_build(tmp_path: Path, root: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Through TensorRT for RTX, which takes and gives timings that are always empty."""
    graph = write_convolutions(tmp_path / "small.onnx", "Relu")
    tensorrt_build.build(rtx, graph, "SM86", TIMINGS)
    kept = (root / TIMINGS).read_bytes()
    assert kept[:32] == hashlib.sha256(kept[32:]).digest()
    assert len(kept) > 32
    assert "Failed to deserialize timing cache" not in caplog.text
    stale = b"stale" * 9
    (root / TIMINGS).write_bytes(hashlib.sha256(stale).digest() + stale)
    assert len(tensorrt_build.build(rtx, graph, "SM86", TIMINGS)) > 10_000
    assert "Failed to deserialize timing cache" in caplog.text, "the library did not get what was kept"
    assert (root / TIMINGS).read_bytes() == kept


def test_a_cache_that_cannot_be_used(tmp_path: Path, root: Path, caplog: pytest.LogCaptureFixture) -> None:
    root.write_bytes(b"")  # where the folder should be
    library = Library()
    tensorrt_caches.load_timings(library, TIMINGS)
    assert library.taken == [b""]
    assert "continuing without" in caplog.text
    tensorrt_caches.save_timings(library, TIMINGS)
    assert "the next start or build is as slow" in caplog.text


class Library:
    """Timings or kernels: what it was given, and what it gives."""

    def __init__(self, gives: bytes | None = b"made here") -> None:
        self.gives = gives
        self.taken: list[bytes] = []

    def create_timing_cache(self, content: bytes) -> bytes:
        return content

    def set_timing_cache(self, cache: bytes, ignore_mismatch: bool) -> bool:
        self.taken.append(cache)
        return True

    def itself(self) -> Library:
        return self

    get_timing_cache = create_runtime_config = create_runtime_cache = itself

    def deserialize(self, content: bytes) -> bool:
        self.taken.append(content)
        return True

    def set_runtime_cache(self, cache: Library) -> bool:
        return True

    def serialize(self) -> bytes | None:
        return self.gives


def test_kernels_are_kept_for_this_user_and_come_back(root: Path) -> None:
    place = Path("kernels", "a")
    tensorrt_caches.Kernels(Library(), place).save()
    assert (root / place).stat().st_size == 32 + len(b"made here")
    assert (root / "kernels").stat().st_mode & 0o077 == 0
    again = Library()
    tensorrt_caches.Kernels(again, place)
    assert again.taken == [b"made here"]


@pytest.mark.parametrize("cut", [0, 5, 40])
def test_what_is_damaged_never_reaches_the_library(root: Path, caplog: pytest.LogCaptureFixture, cut: int) -> None:
    place = Path("kernels", "a")
    tensorrt_caches.Kernels(Library(), place).save()
    whole = (root / place).read_bytes()
    (root / place).write_bytes(whole[:cut])
    library = Library()
    kernels = tensorrt_caches.Kernels(library, place)
    assert library.taken == []
    assert "expected a whole file, got a damaged one" in caplog.text
    kernels.save()
    assert (root / place).read_bytes() == whole


def test_kernels_that_others_could_have_written(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    place = Path("kernels", "a")
    tensorrt_caches.Kernels(Library(), place).save()
    (root / "kernels").chmod(0o777)
    library = Library()
    tensorrt_caches.Kernels(library, place)
    assert library.taken == []
    assert "continuing without" in caplog.text


def test_a_library_that_gives_nothing(root: Path) -> None:
    tensorrt_caches.Kernels(Library(None), Path("kernels", "a")).save()
    tensorrt_caches.save_timings(Library(None), TIMINGS)
    assert [path for path in root.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("damaged", [True, False], ids=["damaged", "another GPU's"])
def test_stale_timings_are_left_out(caplog: pytest.LogCaptureFixture, damaged: bool) -> None:
    """The full library's answers, which no machine without a GPU can give."""
    given: list[bytes] = []

    class Config:
        def create_timing_cache(self, content: bytes) -> bytes | None:
            return None if content and damaged else content

        def set_timing_cache(self, cache: bytes, ignore_mismatch: bool) -> bool:
            assert not ignore_mismatch
            given.append(cache)
            return not cache

    tensorrt_caches.save_timings(Library(b"stale"), TIMINGS)
    tensorrt_caches.load_timings(Config(), TIMINGS)
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
    assert asked == [("SM86", None), (None, Path("timings/tensorrt-10.3.0-SM87"))]
    assert engine.name == "fp16-sm87.plan"
    assert (stamp.read(engine).runtime, stamp.read(engine).device) == ("tensorrt 10.3.0", "SM87")
