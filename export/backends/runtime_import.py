"""Importing a runtime: tried once in a child process, because on the wrong processor the import ends its process."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import importlib.util
import json
import platform
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from export.backends import host
from export.errors import MissingRuntimeError
from mlkd.core import processes
from mlkd.core.cache import cache_root, private
from mlkd.core.files import write_file

PACKAGES = {"onnxruntime": ("onnxruntime", "onnxruntime-gpu"), "tensorrt_rtx": ("tensorrt-rtx-cu13",)}
LONGEST_S = 120.0  # a slow board with its system on a memory card takes ten seconds
CRASHES = ("SIGILL", "SIGSEGV", "SIGBUS", "SIGFPE", "SIGABRT", "SIGTRAP", "SIGSYS")
BEGUN, DONE = "begun", "done"
ABSENT = "none"
TRIAL = f"""
import contextlib, importlib, sys
sys.path[:] = sys.argv[2:]
with contextlib.suppress(Exception):  # no core file of a process that is expected to end
    import resource
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
import mlkd
print({BEGUN!r}, flush=True)
with contextlib.suppress(Exception):  # an error is told by whoever imports it next
    module = importlib.import_module(sys.argv[1])
    if sys.argv[1] == "openvino":
        module.Core().available_devices  # loads the plugins of all devices
print({DONE!r}, flush=True)
"""


def wanted(module: str, package: str) -> Any:
    """The module of a runtime; MissingRuntimeError says why it cannot be imported, and to install `package`."""
    try:
        return load(module)
    except ImportError as cause:
        step = package if str(cause) == ABSENT else f"--force-reinstall {package}, or another version of it"
        raise MissingRuntimeError(
            f"{module}: expected the package {package}, got {cause}; pip install {step}"
        ) from None


def load(module: str) -> Any:
    """The module of a runtime; ImportError, with ABSENT for one that is not installed, else with what is wrong."""
    if module not in sys.modules and (reason := fatal(module)) is not None:
        raise ImportError(reason, name=module)
    try:
        return importlib.import_module(module)
    except Exception as cause:  # OSError of a library, whatever a damaged package raises
        processes.raise_interrupt()
        absent = isinstance(cause, ModuleNotFoundError) and cause.name == module
        got = ABSENT if absent else " ".join(str(cause).split()) or type(cause).__name__
        raise ImportError(got, name=module) from cause


@functools.cache
def fatal(module: str) -> str | None:
    """Why importing this runtime would end the process; None where it does not, or where that cannot be tried.

    Remembered in the device's cache for this machine and its packages.
    """
    try:
        if importlib.util.find_spec(module) is None:
            return None
    except Exception:  # whoever imports it next gets the same error, and tells it
        return None
    file = _file(module)
    known = _read(file)
    if known is None:
        end = _try(module)
        if end is None:
            return None
        known = {"end": end}
        if file is not None:
            with contextlib.suppress(OSError):
                write_file(file, json.dumps(known).encode())
    if not known["end"]:
        return None
    again = f" (without {file} it is tried again)" if _read(file) is not None else ""
    return f"{_named(module)}, whose import ended a process by {known['end']}{again}"


def _try(module: str) -> str | None:
    """How a process ended that imported the module, empty for one that did not; None if that was not to be seen."""
    command = [sys.executable, "-c", TRIAL, module, *sys.path]
    try:
        ended = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env=processes.child_environment(),
            timeout=LONGEST_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    said = ended.stdout.split()
    if BEGUN.encode() not in said:  # Python is embedded in another program, or sys.path is none for a child
        return None
    if DONE.encode() in said:
        return ""
    if ended.returncode < 0:  # another signal came from outside: no memory was left, or somebody interrupted it
        name = signal.Signals(-ended.returncode).name
        return name if name in CRASHES else None
    return f"exit code {ended.returncode}"


def _named(module: str) -> str:
    """The package and its version."""
    from importlib import metadata  # the start of a program does not wait for it

    for package in PACKAGES.get(module, (module,)):
        with contextlib.suppress(metadata.PackageNotFoundError):
            return f"{package} {metadata.version(package)}"
    return module


def _file(module: str) -> Path | None:
    """Where it is remembered; None where that cannot be."""
    packages, python = host.installed(), platform.python_version()
    bound_to = json.dumps([module, host.identity(), packages, python, sys.path], sort_keys=True)
    name = hashlib.sha256(bound_to.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    with contextlib.suppress(OSError):
        return private(cache_root() / "imports") / f"{module}-{name}.json"
    return None


def _read(file: Path | None) -> dict[str, str] | None:
    """What was written there; None if nothing was, or something else lies there."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        found = json.loads(file.read_text(encoding="utf-8")) if file is not None else None
        if isinstance(found, dict) and found.keys() == {"end"} and isinstance(found["end"], str):
            return found
    return None
