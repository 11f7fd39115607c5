"""The calls of the driver, against a driver made of ordinary memory."""

import ctypes
from typing import Any

import numpy as np
import pytest

from export.backends import cuda


class Driver:
    """Answers as libcuda does, with this machine's memory for the GPU's."""

    def __init__(self, gpus: int = 1, code: int = 0) -> None:
        self.gpus, self.code = gpus, code
        self.memory: dict[int, Any] = {}
        self.calls: list[str] = []
        self.current: Any = None

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> int:
            self.calls.append(name)
            return 0

        return call

    def cuInit(self, flags: int) -> int:  # noqa: N802
        return self.code

    def cuGetErrorString(self, code: int, text: Any) -> int:  # noqa: N802
        text._obj.value = b"no such luck"
        return 0

    def cuCtxSetCurrent(self, context: Any) -> int:  # noqa: N802
        self.calls.append("cuCtxSetCurrent")
        self.current = context
        return 0

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
        count._obj.value = self.gpus
        return 0

    def cuDeviceGetAttribute(self, value: Any, attribute: int, device: Any) -> int:  # noqa: N802
        value._obj.value = {75: 8, 76: 6}[attribute]
        return 0

    def cuMemAlloc_v2(self, address: Any, size: Any) -> int:  # noqa: N802
        block = ctypes.create_string_buffer(size.value)
        address._obj.value = ctypes.addressof(block)
        self.memory[ctypes.addressof(block)] = block
        return 0

    def cuMemFree_v2(self, address: Any) -> int:  # noqa: N802
        del self.memory[address.value]
        return 0

    def cuMemcpyHtoDAsync_v2(self, target: Any, source: Any, size: Any, stream: Any) -> int:  # noqa: N802
        ctypes.memmove(target.value, source, size.value)
        return 0

    def cuMemcpyDtoHAsync_v2(self, target: Any, source: Any, size: Any, stream: Any) -> int:  # noqa: N802
        ctypes.memmove(target, source.value, size.value)
        return 0


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    made = Driver()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: made)
    return made


def test_what_goes_up_comes_down(driver: Driver) -> None:
    stream = cuda.Stream()
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    stream.upload("scores", values)
    back = np.zeros_like(values)
    stream.download("scores", back)
    np.testing.assert_array_equal(back, values)
    assert driver.calls[-1] == "cuStreamSynchronize", "the copy must have ended before the array is read"


def test_buffers_grow_and_are_freed(driver: Driver) -> None:
    stream = cuda.Stream()
    small = stream.buffer("images", 10)
    assert stream.buffer("images", 8) == small
    stream.buffer("images", 100)
    assert [len(block) for block in driver.memory.values()] == [100]
    stream.close()
    assert driver.memory == {}
    assert driver.calls[-3:] == ["cuCtxSetCurrent", "cuStreamDestroy_v2", "cuDevicePrimaryCtxRelease_v2"]


def test_an_allocation_that_fails_leaves_no_address(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = cuda.Stream()
    stream.buffer("images", 10)
    with monkeypatch.context() as patch:
        patch.setattr(driver, "cuMemAlloc_v2", lambda address, size: 2)
        with pytest.raises(cuda.CudaError, match=r"cuMemAlloc_v2: no such luck \(2\)"):
            stream.buffer("images", 100)
    assert driver.memory == {}
    assert stream.buffer("images", 8) in driver.memory
    stream.close()
    assert driver.memory == {}


def test_what_cannot_be_freed_holds_nothing_else_up(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = cuda.Stream()
    stream.buffer("images", 10)
    monkeypatch.setattr(driver, "cuMemFree_v2", lambda address: 700)
    with pytest.raises(cuda.CudaError, match="cuMemFree_v2"):
        stream.close()
    assert driver.calls[-2:] == ["cuStreamDestroy_v2", "cuDevicePrimaryCtxRelease_v2"]


def test_a_thread_takes_the_context(driver: Driver) -> None:
    stream = cuda.Stream()
    made = driver.current
    driver.current = None  # as in a thread that did not open the stream
    stream.enter()
    assert driver.current is made is not None


def test_names_the_gpu_as_tensorrt_does(driver: Driver) -> None:
    assert cuda.unavailable_reason() is None
    assert cuda.compute_capability() == "SM86"


def test_no_gpu_behind_the_driver(driver: Driver) -> None:
    driver.gpus = 0
    assert "expected an NVIDIA GPU, got none" in str(cuda.unavailable_reason())


def test_a_driver_that_fails(driver: Driver) -> None:
    driver.code = 100
    assert "cuInit: no such luck (100)" in str(cuda.unavailable_reason())


def test_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "LIBRARY", "libcuda-that-is-not-there.so.1")
    assert "expected an NVIDIA driver" in str(cuda.unavailable_reason())
