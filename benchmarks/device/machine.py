"""What makes a measurement comparable: the machine, its runtimes, and whether it can be trusted to be quiet."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

from export.backends import stamp
from export.backends.host import ROOT, allowed, cpu_model, cpuinfo, gpus, identity, quota, runtimes, text

__all__ = ["allowed", "cpu_model", "gpus", "identity", "runtimes"]

FLAGS = {  # name in the report -> name in /proc/cpuinfo (x86, then ARM)
    "avx2": ("avx2",),
    "avx512": ("avx512f",),
    "vnni": ("avx512_vnni", "avx_vnni"),
    "bf16": ("avx512_bf16", "bf16"),
    "amx": ("amx_tile",),
    "neon": ("neon", "asimd"),
    "dotprod": ("asimddp",),
    "i8mm": ("i8mm",),
}
NVIDIA_SMI = ("--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
THROTTLED = ("under-voltage", "frequency capped", "throttled", "soft temperature limit")  # bits of vcgencmd, from 0
STEAL = 0.001
VIRTUAL_MAKERS = ("qemu", "kvm", "vmware", "virtualbox", "innotek", "xen", "amazon ec2", "google", "hyper-v", "bochs")


def describe(root: Path = ROOT) -> dict[str, Any]:
    """Everything a reader of the numbers may ask for; takes up to a second where there is an NVIDIA driver."""
    return {
        **identity(root),
        "instruction_set": stamp.instruction_set(root),
        "flags": cpu_flags(root),
        "memory_gib": memory_gib(root),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "governor": text(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "power_mode": power_mode(),
        "throttled": throttled(),
        "load": load(root),
        "virtual": is_virtual(root),
        "comparable": comparable(root),
        "gpu_details": (_said("nvidia-smi", *NVIDIA_SMI) or "").splitlines(),
        "runtimes": runtimes(),
    }


def cpu_flags(root: Path = ROOT) -> list[str]:
    """The instruction sets that decide how int8 and bf16 run."""
    info = cpuinfo(root)
    present = set((info.get("flags") or info.get("Features") or "").split())
    return [name for name, aliases in FLAGS.items() if present.intersection(aliases)]


def is_virtual(root: Path = ROOT) -> bool:
    """Whether this is a virtual machine, by the CPU's hypervisor flag or the maker's name."""
    maker = f"{text(root / 'sys/class/dmi/id/sys_vendor')} {text(root / 'sys/class/dmi/id/product_name')}".lower()
    return "hypervisor" in cpuinfo(root).get("flags", "").split() or any(name in maker for name in VIRTUAL_MAKERS)


def comparable(root: Path = ROOT) -> str:
    """Whether the numbers hold for themselves, or only beside others of the same machine and time."""
    limit = quota(root)
    if limit is not None and limit < len(allowed()):
        return f"relative only: quota {limit:g} CPU"
    if is_virtual(root):
        return "relative only: a virtual machine"
    busy, stolen = load(root), steal(root)
    if busy > len(allowed()) / 2:
        return f"relative only: a shared machine, load {busy:.1f}"
    if stolen > STEAL:
        return f"relative only: a shared machine, {stolen:.1%} of its time went to others"
    return "bare metal"


def load(root: Path = ROOT) -> float:
    """How many processes wanted a core, over the last minute."""
    words = (text(root / "proc/loadavg") or "").split()
    return float(words[0]) if words else os.getloadavg()[0]


def steal(root: Path = ROOT) -> float:
    """Share of the time since boot that a hypervisor gave to others: the eighth number of /proc/stat."""
    numbers = [int(word) for word in (text(root / "proc/stat") or "").partition("\n")[0].split()[1:9]]
    return numbers[7] / max(1, sum(numbers)) if len(numbers) == 8 else 0.0


def power_mode() -> str | None:
    """What a Jetson calls the mode it runs in: MAXN, 15W."""
    lines = (_said("nvpmodel", "-q") or "").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("NV Power Mode:")), None)


def throttled() -> list[str] | None:
    """Why a Raspberry Pi is slower than it could be, now or at some time since boot; None on another machine."""
    flags = (_said("vcgencmd", "get_throttled") or "").partition("=")[2]
    try:
        bits = int(flags, 16)
    except ValueError:
        return None
    now = [word for bit, word in enumerate(THROTTLED) if bits >> bit & 1]
    return now + [f"{word} since boot" for bit, word in enumerate(THROTTLED) if bits >> (16 + bit) & 1]


def memory_gib(root: Path = ROOT) -> float | None:
    """Installed memory."""
    for line in (text(root / "proc/meminfo") or "").splitlines():
        if line.startswith("MemTotal:"):
            return round(int(line.split()[1]) / 2**20, 1)
    return None


def pick_cores(threads: int, root: Path = ROOT) -> list[int]:
    """`threads` of the allowed logical CPUs, one a physical core as far as they go, the last first.

    The first CPU serves most interrupts, so it is taken last.
    """
    by_core: dict[tuple[str | None, str | None], list[int]] = {}
    for cpu in sorted(allowed(), reverse=True):
        topology = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
        core = text(topology / "physical_package_id"), text(topology / "core_id")
        by_core.setdefault(core if core[1] is not None else (None, str(cpu)), []).append(cpu)
    groups = list(by_core.values())
    in_turn = [group[turn] for turn in range(max(map(len, groups))) for group in groups if turn < len(group)]
    return sorted(in_turn[:threads])


def pin(threads: int) -> list[int] | None:
    """Bind this process to `threads` cores and say which; None where the system or the core count does not allow it."""
    cores = pick_cores(threads)
    if len(cores) < threads or not hasattr(os, "sched_setaffinity"):
        return None
    try:
        os.sched_setaffinity(0, cores)
    except OSError:
        return None
    return cores


def peak_memory_mb() -> float | None:
    """Highest resident memory of this process in MB.

    From VmHWM: ru_maxrss survives exec, so a child of a large process would report its parent's memory.
    """
    for line in (text(Path("/proc/self/status")) or "").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    return None


def _said(program: str, *arguments: str) -> str | None:
    """What a program prints; None where there is none or it fails."""
    path = shutil.which(program)
    if path is None:
        return None
    try:
        ended = subprocess.run([path, *arguments], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return ended.stdout.strip() if ended.returncode == 0 else None
