"""Facts about this machine and its runtimes that a measurement depends on."""

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
BF16 = {"avx512_bf16", "amx_bf16", "avx_ne_convert", "bf16"}  # in /proc/cpuinfo; other CPUs emulate it slowly
_PACKAGE = re.compile(rf"({'|'.join(RUNTIMES).replace('-', '[-_]')})-.*-info", re.IGNORECASE)


def identity(root: Path = ROOT) -> dict[str, Any]:
    """Facts that are constant for a machine: a measurement is valid for an equal identity."""
    return {
        "cpu": cpu_model(root),
        "architecture": platform.machine(),
        "cores": os.cpu_count() or 1,
        "os": _os_name(root),
        "gpus": gpus(root),
        "driver": text(root / "sys/module/nvidia/version"),
    }


def cpu_model(root: Path = ROOT) -> str:
    """Name of the processor, on ARM boards of the board."""
    info = cpuinfo(root)
    board = text(root / "proc/device-tree/model")
    return info.get("model name") or info.get("Model") or board or platform.processor() or platform.machine()


def computes_bf16(root: Path = ROOT) -> bool:
    """Whether this CPU has bf16 products; True where the system does not tell."""
    words = text(root / "proc/cpuinfo")
    return words is None or bool(BF16 & set(words.split()))


def gpus(root: Path = ROOT) -> list[str]:
    """Names of the NVIDIA GPUs, from the driver's files, which are fast to read."""
    names = []
    for file in sorted(root.glob("proc/driver/nvidia/gpus/*/information")):
        lines = (text(file) or "").splitlines()
        names += [line.split(":", 1)[1].strip() for line in lines if line.startswith("Model:")]
    return names


def runtimes() -> dict[str, str]:
    """Versions of the installed packages that take part in a query."""
    from importlib import metadata  # slow to import

    versions = {}
    for name in RUNTIMES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def installed() -> list[str]:
    """Names of the runtimes' metadata folders, which contain versions: ten times faster to read than `runtimes`."""
    names = set()
    for folder in sys.path:
        with contextlib.suppress(OSError):  # a zip, or not a folder
            names |= {file.name for file in Path(folder).iterdir() if _PACKAGE.match(file.name)}
    return sorted(names)


def allowed() -> set[int]:
    """The logical CPUs this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))


def usable_cores(root: Path = ROOT) -> int:
    """How many threads this process can keep busy: its CPUs, limited by its quota, at least 1."""
    limit = quota(root)
    return max(1, len(allowed()) if limit is None else min(len(allowed()), int(limit)))


def quota(root: Path = ROOT) -> float | None:
    """CPU time per wall-clock time that this process's control groups allow; None without a limit."""
    limits = []
    for line in (text(root / "proc/self/cgroup") or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        for mount in ("", "unified") if not controllers else (controllers, "cpu"):
            # A container's own group is mounted as the root, whatever its path outside is.
            group = Path("/", path)
            for folder in (group, *group.parents):
                limits.append(_quota(root / "sys/fs/cgroup" / mount / folder.relative_to("/")))
    return min((limit for limit in limits if limit is not None), default=None)


def _quota(group: Path) -> float | None:
    """CPU time per period of one control group, version 2 or 1."""
    words = (text(group / "cpu.max") or "").split()
    if not words:
        words = [text(group / f"cpu.cfs_{name}_us") or "" for name in ("quota", "period")]
    try:
        given, period = map(int, words)
    except ValueError:  # "max", or no such file
        return None
    return given / period if given > 0 and period > 0 else None


def cpuinfo(root: Path) -> dict[str, str]:
    """The fields of the first processor in /proc/cpuinfo."""
    fields: dict[str, str] = {}
    for line in (text(root / "proc/cpuinfo") or "").splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    return fields


def text(file: Path) -> str | None:
    """Content of a system file; None if it is not readable."""
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip("\0\n ")
    except OSError:
        return None


def _os_name(root: Path) -> str:
    for line in (text(root / "etc/os-release") or "").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.split("=", 1)[1].strip('"')
    return platform.system()
