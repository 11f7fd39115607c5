"""Imports runtimes, first in a child process: on an unsupported processor the import crashes its process."""

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
TIMEOUT_S = 120.0  # a slow board with its system on a memory card takes ten seconds
CRASHES = ("SIGILL", "SIGSEGV", "SIGBUS", "SIGFPE", "SIGABRT", "SIGTRAP", "SIGSYS")
STARTED, DONE = "started", "done"
NOT_INSTALLED = "none"
PROBE = f"""
import contextlib, importlib, sys
sys.path[:] = sys.argv[2:]
with contextlib.suppress(Exception):  # no core file of a process that is expected to crash
    import resource
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
import mlkd
print({STARTED!r}, flush=True)
with contextlib.suppress(Exception):  # the import that follows raises the same error
    module = importlib.import_module(sys.argv[1])
    if sys.argv[1] == "openvino":
        module.Core().available_devices  # loads the plugins of all devices
print({DONE!r}, flush=True)
"""


def require_module(module: str, package: str) -> Any:
    """Import a runtime; MissingRuntimeError says why that fails, and to install `package`."""
    try:
        return import_runtime(module)
    except ImportError as cause:
        step = package if str(cause) == NOT_INSTALLED else f"--force-reinstall {package}, or another version of it"
        raise MissingRuntimeError(
            f"{module}: expected the package {package}, got {cause}; pip install {step}"
        ) from None


def import_runtime(module: str) -> Any:
    """Import a runtime; ImportError has the text NOT_INSTALLED, or says what failed."""
    if module not in sys.modules and (reason := crash_reason(module)) is not None:
        raise ImportError(reason, name=module)
    try:
        return importlib.import_module(module)
    except Exception as cause:  # OSError of a library; a damaged package raises anything
        processes.raise_interrupt()
        not_installed = isinstance(cause, ModuleNotFoundError) and cause.name == module
        got = NOT_INSTALLED if not_installed else " ".join(str(cause).split()) or type(cause).__name__
        raise ImportError(got, name=module) from cause


@functools.cache
def crash_reason(module: str) -> str | None:
    """Say why importing this runtime would crash the process; None if it does not, or if that cannot be tested.

    The result is stored in the device's cache for this machine and its packages.
    """
    try:
        if importlib.util.find_spec(module) is None:
            return None
    except Exception:  # the import that follows raises the same error
        return None
    file = _cache_file(module)
    crash = _read(file)
    if crash is None:
        crash = _probe(module)
        if crash is not None and file is not None:
            with contextlib.suppress(OSError):
                write_file(file, json.dumps({"end": crash}).encode())
    if not crash:
        return None
    again = f" (delete {file} to test it again)" if _read(file) is not None else ""
    return f"{_describe(module)}, whose import crashed a process with {crash}{again}"


def _probe(module: str) -> str | None:
    """Import the module in a child: its signal or exit code if it crashed, "" if not, None if that is unknown."""
    command = [sys.executable, "-c", PROBE, module, *sys.path]
    try:
        child = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env=processes.child_environment(),
            timeout=TIMEOUT_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    printed = child.stdout.split()
    if STARTED.encode() not in printed:  # Python is embedded in another program, or sys.path does not suit a child
        return None
    if DONE.encode() in printed:
        return ""
    if child.returncode < 0:  # other signals come from outside: out of memory, or an interrupt
        name = signal.Signals(-child.returncode).name
        return name if name in CRASHES else None
    return f"exit code {child.returncode}"


def _describe(module: str) -> str:
    """The package and its version."""
    from importlib import metadata  # slow to import

    for package in PACKAGES.get(module, (module,)):
        with contextlib.suppress(metadata.PackageNotFoundError):
            return f"{package} {metadata.version(package)}"
    return module


def _cache_file(module: str) -> Path | None:
    """The file for the result of a probe; None without a usable cache."""
    packages, python = host.installed(), platform.python_version()
    bound_to = json.dumps([module, host.identity(), packages, python, sys.path], sort_keys=True)
    name = hashlib.sha256(bound_to.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    with contextlib.suppress(OSError):
        return private(cache_root() / "imports") / f"{module}-{name}.json"
    return None


def _read(file: Path | None) -> str | None:
    """The result in the cache; None if there is none."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        content = json.loads(file.read_text(encoding="utf-8")) if file is not None else None
        if isinstance(content, dict) and content.keys() == {"end"} and isinstance(content["end"], str):
            return content["end"]
    return None
