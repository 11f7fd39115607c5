"""The devices to measure on: this machine, or others over ssh."""

from benchmarks.remote.base import Device, DeviceEntry, DeviceError, Local, NoRoomError, Run, UnfitError
from benchmarks.remote.parallel import run_on_all
from benchmarks.remote.ssh import Ssh

__all__ = ["Device", "DeviceEntry", "DeviceError", "Local", "NoRoomError", "Run", "Ssh", "UnfitError", "run_on_all"]
