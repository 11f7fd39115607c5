"""The devices to measure on: this machine, a browser of it, or others over ssh."""

from benchmarks.remote.base import Device, DeviceEntry, DeviceError, Local, NoRoomError, Run, UnfitError
from benchmarks.remote.parallel import open_device, run_in_turn, run_on_all
from benchmarks.remote.ssh import Ssh

__all__ = [
    "Device",
    "DeviceEntry",
    "DeviceError",
    "Local",
    "NoRoomError",
    "Run",
    "Ssh",
    "UnfitError",
    "open_device",
    "run_in_turn",
    "run_on_all",
]
