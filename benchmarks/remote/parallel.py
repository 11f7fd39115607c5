"""Work on several devices at once."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TypeVar

from benchmarks.config import DeviceEntry
from benchmarks.remote.base import Device, Local
from benchmarks.remote.browser import Browser
from benchmarks.remote.ssh import Ssh

D = TypeVar("D", bound=Device)
T = TypeVar("T")


def open_device(entry: DeviceEntry) -> Device:
    """The device of an entry."""
    if entry.kind == "browser":
        return Browser(dataclasses.replace(entry, threads=1))
    return Local(entry) if entry.host is None else Ssh(entry)


def run_in_turn(entries: Sequence[DeviceEntry], work: Callable[[Device], T]) -> list[T]:
    """Run `work` on all devices, first on those of this machine, which sending files to the others would disturb."""
    results: dict[str, T] = {}
    for group in ([e for e in entries if e.host is None], [e for e in entries if e.host is not None]):
        if group:
            done = run_on_all(list(map(open_device, group)), work)
            results |= {entry.name: result for entry, result in zip(group, done, strict=True)}
    return [results[entry.name] for entry in entries]


def run_on_all(devices: Sequence[D], work: Callable[[D], T]) -> list[T]:
    """Run `work` on every device at once and return its results in their order; an exception from it ends all.

    Devices that share a host take turns, or they would time each other.  Each is closed after its work.
    """
    turns = {_host(device): threading.Lock() for device in devices}

    def work_and_close(device: D) -> T:
        with turns[_host(device)], closing(device):
            return work(device)

    with ThreadPoolExecutor(len(devices)) as pool:
        running = [pool.submit(work_and_close, device) for device in devices]
        try:
            return [future.result() for future in running]
        except BaseException:  # the other threads would go on, and the pool waits for them
            for device in devices:
                device.close()
            raise


def _host(device: Device) -> tuple[str | None, int | None]:
    return device.entry.host, device.entry.port
