"""A session of TensorRT over a library and a stream that only answer: what it does when they refuse."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from export.backends import TensorRt, cuda, stamp
from export.errors import EngineError, MissingRuntimeError

IMAGES = np.zeros((3, 8, 8, 3), np.uint8)


class Stream:
    """Counts those that are open."""

    handle = 1
    opened = 0

    def __init__(self) -> None:
        Stream.opened += 1

    def enter(self) -> None:
        pass

    def upload(self, name: str, array: NDArray[Any]) -> int:
        return 1

    def buffer(self, name: str, size: int) -> int:
        return 2

    def download(self, name: str, array: NDArray[np.float32]) -> None:
        array[:] = 0.5

    def close(self) -> None:
        Stream.opened -= 1


class Library:
    """Runtime, engine, context and kernels in one: as the full library answers, or TensorRT for RTX."""

    def __init__(self, *_: Any) -> None:
        pass

    def itself(self, *_: Any) -> Any:
        return self

    def yes(self, *_: Any) -> bool:
        return True

    deserialize_cuda_engine = create_execution_context = create_runtime_config = create_runtime_cache = itself
    set_runtime_cache = set_input_shape = set_tensor_address = execute_async_v3 = deserialize = yes

    def get_tensor_name(self, index: int) -> str:
        return ("images", "scores")[index]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return {"images": (-1, 8, 8, 3), "scores": (-1, 5)}[name]

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        return [(1, 8, 8, 3), (1, 8, 8, 3), (32, 8, 8, 3)]

    def serialize(self) -> bytes:
        return b"kernels"


@pytest.fixture(params=["tensorrt", "tensorrt_rtx"])
def engine(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    gpu: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[str], Path]:
    """A plan of a graph in the precision asked for."""
    library = ModuleType(request.param)
    library.__dict__.update(__version__="10.3.0", Builder=None, ILogger=Library, Runtime=Library)
    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, library if name == request.param else None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(cuda, "Stream", Stream)
    monkeypatch.setattr(Stream, "opened", 0)
    gpu("SM87")

    def plan(precision: str) -> Path:
        file = tmp_path / "some.plan"
        file.write_bytes(b"plan")
        runtime = f"{request.param} 10.3.0"
        made = stamp.Stamp(runtime=runtime, device="SM87", precision=precision, options={}, graph="")
        stamp.write(file, made)
        return file

    return plan


def opened(plan: Path) -> Any:
    return TensorRt(compute_capability="device").open(plan)


@pytest.mark.parametrize(("precision", "compute"), [("fp32", "f32"), ("fp16", "f16"), ("int8", "unknown")])
def test_runs_and_says_in_what(engine: Callable[[str], Path], precision: str, compute: str) -> None:
    with opened(engine(precision)) as session:
        assert (session.runtime_info.compute, session.max_batch, session.image) == (compute, 32, (8, 8, 3))
        np.testing.assert_array_equal(session(IMAGES), np.full((3, 5), 0.5))
        assert Stream.opened == 1
    assert Stream.opened == 0


@pytest.mark.parametrize(
    ("method", "answer", "error", "text"),
    [
        ("deserialize_cuda_engine", None, EngineError, "expected a plan for this GPU and version, got: no message"),
        (
            "create_execution_context",
            None,
            MissingRuntimeError,
            "some.plan: expected room on the GPU .*got: no message",
        ),
        ("get_tensor_profile_shape", [], IndexError, "out of range"),
    ],
)
def test_a_failure_to_open_closes_the_stream(
    engine: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    answer: Any,
    error: type[Exception],
    text: str,
) -> None:
    monkeypatch.setattr(Library, method, lambda *_: answer)
    with pytest.raises(error, match=text):
        opened(engine("fp16"))
    assert Stream.opened == 0


@pytest.mark.parametrize(
    ("method", "text"),
    [
        ("set_input_shape", r"expected the engine to accept images \(3, 8, 8, 3\)"),
        ("execute_async_v3", "expected scores"),
    ],
)
def test_a_refused_run_is_an_error(
    engine: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, method: str, text: str
) -> None:
    monkeypatch.setattr(Library, method, lambda *_: False)
    with opened(engine("fp16")) as session, pytest.raises(RuntimeError, match=f"some.plan: {text}, got: no message"):
        session(IMAGES)


def test_a_failure_to_close_closes_the_stream(engine: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    session = opened(engine("fp16"))

    def enter(stream: Stream) -> None:
        raise cuda.CudaError("no such luck")

    monkeypatch.setattr(Stream, "enter", enter)
    with pytest.raises(cuda.CudaError):
        session.close()
    assert Stream.opened == 0


def test_a_full_disk_stops_no_session(
    engine: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def write(path: Path, content: bytes) -> None:
        raise OSError("no room")

    monkeypatch.setattr("export.backends.tensorrt_caches.write_file", write)
    session = opened(engine("fp16"))
    session.close()
    assert Stream.opened == 0
    kept = [record.getMessage() for record in caplog.records]
    assert all("expected a writable cache, got: no room" in text for text in kept)
    assert len(kept) == (session.runtime_info.provider == "tensorrt_rtx")
