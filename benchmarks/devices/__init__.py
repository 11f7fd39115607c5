"""The machines to measure on: this one, or one over ssh."""

from benchmarks.devices.base import Device, DeviceEntry, DeviceError, Local, NoRoomError, Run, UnfitError
from benchmarks.devices.ssh import Ssh

__all__ = ["Device", "DeviceEntry", "DeviceError", "Local", "NoRoomError", "Run", "Ssh", "UnfitError"]
