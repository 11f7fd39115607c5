"""The machines to measure on: this one, or one over ssh."""

from benchmarks.remote.base import Device, DeviceEntry, DeviceError, Local, NoRoomError, Run, UnfitError
from benchmarks.remote.ssh import Ssh

__all__ = ["Device", "DeviceEntry", "DeviceError", "Local", "NoRoomError", "Run", "Ssh", "UnfitError"]
