"""The calls of NVIDIA's driver that an engine needs, through ctypes: a device needs no further package."""

from __future__ import annotations

import contextlib
import ctypes
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


LIBRARY = "libcuda.so.1"  # part of the driver
COMPUTE_MAJOR, COMPUTE_MINOR = 75, 76  # CUdevice_attribute


class CudaError(RuntimeError):
    """A call of the driver failed; the message has its name and the driver's text."""


def unavailable_reason() -> str | None:
    """Say why no NVIDIA GPU is usable on this machine; None if one is."""
    try:
        driver = _driver()
        count = ctypes.c_int()
        _call(driver, "cuDeviceGetCount", ctypes.byref(count))
    except OSError:
        return f"cuda: expected an NVIDIA driver ({LIBRARY}), got none; run it on a machine with an NVIDIA GPU"
    except CudaError as cause:
        return f"cuda: expected a working NVIDIA driver, got: {cause}; check it with nvidia-smi"
    return None if count.value else "cuda: expected an NVIDIA GPU, got none; run it on a machine with one"


def compute_capability() -> str:
    """Compute capability of the first GPU in TensorRT's notation, such as SM86."""
    driver = _driver()
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    _call(driver, "cuDeviceGet", ctypes.byref(device), 0)
    _call(driver, "cuDeviceGetAttribute", ctypes.byref(major), COMPUTE_MAJOR, device)
    _call(driver, "cuDeviceGetAttribute", ctypes.byref(minor), COMPUTE_MINOR, device)
    return f"SM{major.value}{minor.value}"


class Stream:
    """A stream of the first GPU, with named buffers that grow with the batch."""

    def __init__(self) -> None:
        self._driver = _driver()
        self._device = ctypes.c_int()
        self._context, self._stream = ctypes.c_void_p(), ctypes.c_void_p()
        _call(self._driver, "cuDeviceGet", ctypes.byref(self._device), 0)
        # The primary context, which runtimes also use.
        _call(self._driver, "cuDevicePrimaryCtxRetain", ctypes.byref(self._context), self._device)
        self.enter()
        _call(self._driver, "cuStreamCreate", ctypes.byref(self._stream), 0)
        self._buffers: dict[str, tuple[ctypes.c_uint64, int]] = {}

    def enter(self) -> None:
        """Make the context current in the calling thread, which may not be the thread that created it."""
        _call(self._driver, "cuCtxSetCurrent", self._context)

    @property
    def handle(self) -> int:
        """The stream as the number that runtimes expect."""
        return self._stream.value or 0

    def buffer(self, name: str, size: int) -> int:
        """Address of at least `size` bytes on the GPU."""
        address, allocated = self._buffers.get(name, (ctypes.c_uint64(), 0))
        if allocated < size:
            self._buffers.pop(name, None)  # a failed allocation must not leave a freed address
            self._free(address)
            address = ctypes.c_uint64()
            _call(self._driver, "cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(size))
            self._buffers[name] = (address, size)
        return address.value

    def upload(self, name: str, array: NDArray[Any]) -> int:
        """Copy a contiguous array into the buffer `name` and return its address."""
        address, size = self.buffer(name, array.nbytes), ctypes.c_size_t(array.nbytes)
        source = array.ctypes.data_as(ctypes.c_void_p)
        _call(self._driver, "cuMemcpyHtoDAsync_v2", ctypes.c_uint64(address), source, size, self._stream)
        return address

    def download(self, name: str, array: NDArray[np.float32]) -> None:
        """Fill the array from the buffer `name` once all earlier work of the stream is done."""
        target, (address, _) = array.ctypes.data_as(ctypes.c_void_p), self._buffers[name]
        _call(self._driver, "cuMemcpyDtoHAsync_v2", target, address, ctypes.c_size_t(array.nbytes), self._stream)
        _call(self._driver, "cuStreamSynchronize", self._stream)

    def close(self) -> None:
        """Free the buffers, the stream and the context, each even if another cannot be freed."""
        with contextlib.ExitStack() as stack:  # runs the last callback first
            stack.callback(_call, self._driver, "cuDevicePrimaryCtxRelease_v2", self._device)
            stack.callback(_call, self._driver, "cuStreamDestroy_v2", self._stream)
            for address, _ in self._buffers.values():
                stack.callback(self._free, address)
            self._buffers.clear()
            self.enter()

    def _free(self, address: ctypes.c_uint64) -> None:
        if address.value:
            _call(self._driver, "cuMemFree_v2", address)


def _driver() -> ctypes.CDLL:
    driver = ctypes.CDLL(LIBRARY)
    _call(driver, "cuInit", 0)
    return driver


def _call(driver: Any, name: str, *arguments: Any) -> None:
    code = getattr(driver, name)(*arguments)
    if code:
        text = ctypes.c_char_p()
        driver.cuGetErrorString(code, ctypes.byref(text))
        raise CudaError(f"{name}: {(text.value or b'unknown error').decode()} ({code})")
