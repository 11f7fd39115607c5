import threading
from dataclasses import dataclass, field

import pytest

from benchmarks.remote import DeviceEntry, Local, run_on_all


@dataclass(frozen=True)
class Closable(Local):
    """A device that notes that it was closed."""

    closed: threading.Event = field(default_factory=threading.Event)

    def close(self) -> None:
        self.closed.set()
        super().close()


def device(name: str, host: str) -> Closable:
    return Closable(DeviceEntry(name=name, host=host))


def test_devices_work_at_once_but_those_of_one_host_in_turn() -> None:
    busy, met = {host: threading.Lock() for host in ("one", "two")}, threading.Barrier(2, timeout=30)

    def work(device: Closable) -> str:
        lock = busy[str(device.entry.host)]
        assert lock.acquire(blocking=False)
        if device.entry.name != "c":
            met.wait()  # the other host's is at work too, or nobody comes
        lock.release()
        return device.entry.name

    devices = [device("a", "one"), device("b", "two"), device("c", "one")]
    assert run_on_all(devices, work) == ["a", "b", "c"]
    assert all(device.closed.is_set() for device in devices)


def test_an_interrupt_closes_all_devices() -> None:
    ended = []

    def work(device: Closable) -> None:
        if device.entry.name == "a":
            raise KeyboardInterrupt  # stands for one that reaches the thread that waits
        ended.append(device.closed.wait(20))

    with pytest.raises(KeyboardInterrupt):
        run_on_all([device("a", "one"), device("b", "two")], work)
    assert ended == [True]
