"""What NVIDIA's management library says of the first GPU; everything is None without it."""

from __future__ import annotations

import contextlib
import ctypes
import os
from dataclasses import dataclass
from typing import Any

SM_CLOCK, GPU_SENSOR = 1, 0
UNKNOWN = 2**64 - 1  # what the library says where it does not know
MOST_PROCESSES = 256


class Process(ctypes.Structure):
    """nvmlProcessInfo_t."""

    _fields_ = (
        ("pid", ctypes.c_uint),
        ("memory", ctypes.c_ulonglong),
        ("gpu_instance", ctypes.c_uint),
        ("compute_instance", ctypes.c_uint),
    )


@dataclass(frozen=True)
class Nvml:
    """The library, opened, and a handle of GPU 0, which is the one that the runtimes take."""

    library: Any
    device: ctypes.c_void_p

    @classmethod
    def open(cls, library: Any = None) -> Nvml | None:
        """None where there is no library, no driver or no GPU; `library` stands in for libnvidia-ml.so.1."""
        device = ctypes.c_void_p()
        try:
            library = library or ctypes.CDLL("libnvidia-ml.so.1")
            if library.nvmlInit_v2() or library.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(device)):
                return None
        except (OSError, AttributeError):
            return None
        return cls(library, device)

    def energy_mj(self) -> float | None:
        """What the GPU has used since the driver was loaded (Volta and newer)."""
        return self._number("nvmlDeviceGetTotalEnergyConsumption", ctypes.c_ulonglong)

    def clock_mhz(self) -> float | None:
        """Of the streaming multiprocessors."""
        return self._number("nvmlDeviceGetClockInfo", ctypes.c_uint, SM_CLOCK)

    def temperature_c(self) -> float | None:
        """Of the chip."""
        return self._number("nvmlDeviceGetTemperature", ctypes.c_uint, GPU_SENSOR)

    def memory_mb(self, pid: int | None = None) -> float | None:
        """What this process holds on the GPU; None where it is not listed, as in a container with its own numbers."""
        count, processes = ctypes.c_uint(MOST_PROCESSES), (Process * MOST_PROCESSES)()
        with contextlib.suppress(AttributeError):
            failed = self.library.nvmlDeviceGetComputeRunningProcesses_v3(self.device, ctypes.byref(count), processes)
            for process in [] if failed else processes[: count.value]:
                if process.pid == (pid or os.getpid()) and process.memory != UNKNOWN:
                    return float(process.memory / 1e6)
        return None

    def _number(self, function: str, kind: Any, *arguments: int) -> float | None:
        value = kind()
        try:
            failed = getattr(self.library, function)(self.device, *arguments, ctypes.byref(value))
        except AttributeError:  # an older library
            return None
        return None if failed else float(value.value)
