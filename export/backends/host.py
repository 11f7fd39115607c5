"""Which machine this is, and which runtimes it has: what a measurement holds for."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path("/")
RUNTIMES = ("numpy", "pillow", "onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt", "tensorrt-rtx-cu13")
BF16 = {"avx512_bf16", "amx_bf16", "avx_ne_convert", "bf16"}  # in /proc/cpuinfo; others only imitate it, slowly
_PACKAGE = re.compile(rf"({'|'.join(RUNTIMES).replace('-', '[-_]')})-.*-info", re.IGNORECASE)


def identity(root: Path = ROOT) -> dict[str, Any]:
    """The part that stays equal while the machine does: a measurement holds for an equal identity."""
    return {
        "cpu": cpu_model(root),
        "architecture": platform.machine(),
        "cores": os.cpu_count() or 1,
        "os": _os_name(root),
        "gpus": gpus(root),
        "driver": text(root / "sys/module/nvidia/version"),
    }


def cpu_model(root: Path = ROOT) -> str:
    """The processor's own name; on ARM boards the board's."""
    info = cpuinfo(root)
    board = text(root / "proc/device-tree/model")
    return info.get("model name") or info.get("Model") or board or platform.processor() or platform.machine()


def computes_bf16(root: Path = ROOT) -> bool:
    """Whether this CPU multiplies bf16 itself, which others imitate; True where the system does not say."""
    words = text(root / "proc/cpuinfo")
    return words is None or bool(BF16 & set(words.split()))


def gpus(root: Path = ROOT) -> list[str]:
    """Names of the NVIDIA GPUs, from the driver's own files: quick enough for the start of a program."""
    found = []
    for file in sorted(root.glob("proc/driver/nvidia/gpus/*/information")):
        lines = (text(file) or "").splitlines()
        found += [line.split(":", 1)[1].strip() for line in lines if line.startswith("Model:")]
    return found


def runtimes() -> dict[str, str]:
    """Versions of the packages that take part in a query, those that are installed."""
    from importlib import metadata  # the start of a program does not wait for it

    found = {}
    for name in RUNTIMES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def installed() -> list[str]:
    """What pip left beside the runtimes: differs where `runtimes` does, and is read ten times sooner."""
    found = set()
    for place in sys.path:
        with contextlib.suppress(OSError):  # a zip, or nothing
            found |= {file.name for file in Path(place).iterdir() if _PACKAGE.match(file.name)}
    return sorted(found)


def allowed() -> set[int]:
    """The logical CPUs this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))


def usable_cores(root: Path = ROOT) -> int:
    """How many threads this process can keep busy: the CPUs it may use, no more than its quota pays for, at least 1."""
    limit = quota(root)
    return max(1, len(allowed()) if limit is None else min(len(allowed()), int(limit)))


def quota(root: Path = ROOT) -> float | None:
    """CPUs' worth of time that this process's control groups are given, the least of them; None without a limit."""
    found = []
    for line in (text(root / "proc/self/cgroup") or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        for mount in ("", "unified") if not controllers else (controllers, "cpu"):
            # A container's own group is mounted as the root, whatever the path from outside is.
            group = Path("/", path)
            for place in (group, *group.parents):
                found.append(_quota(root / "sys/fs/cgroup" / mount / place.relative_to("/")))
    return min((limit for limit in found if limit is not None), default=None)


def _quota(group: Path) -> float | None:
    """Of one group, version 2 or 1: microseconds in each period."""
    words = (text(group / "cpu.max") or "").split()
    if not words:
        words = [text(group / f"cpu.cfs_{name}_us") or "" for name in ("quota", "period")]
    try:
        given, period = map(int, words)
    except ValueError:  # "max", or no such file
        return None
    return given / period if given > 0 and period > 0 else None


def cpuinfo(root: Path) -> dict[str, str]:
    """The fields of the first processor."""
    found: dict[str, str] = {}
    for line in (text(root / "proc/cpuinfo") or "").splitlines():
        name, _, value = line.partition(":")
        found.setdefault(name.strip(), value.strip())
    return found


def text(file: Path) -> str | None:
    """What one of the system's files says; None where it cannot be read."""
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip("\0\n ")
    except OSError:
        return None


def _os_name(root: Path) -> str:
    for line in (text(root / "etc/os-release") or "").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.split("=", 1)[1].strip('"')
    return platform.system()
