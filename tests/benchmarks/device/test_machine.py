import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.device import machine

ROOT = Path(__file__).parents[3]
EPYC = "processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: fpu avx2 avx512f avx512_vnni hypervisor\n\nprocessor\t: 1\n"
PI = "processor\t: 0\nFeatures\t: fp asimd asimddp\n\nModel\t\t: Raspberry Pi 5 Model B\n"


def fake(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


def test_identity_is_the_stable_part_of_the_description() -> None:
    identity, described = machine.identity(), machine.describe()
    assert identity == machine.identity()
    assert identity.items() <= described.items()
    assert json.loads(json.dumps(described)) == described
    assert set(identity) == {"cpu", "architecture", "cores", "os", "gpus", "driver"}
    assert identity["cpu"]
    assert not {"load", "memory_gib", "kernel"} & set(identity)


def test_a_virtual_x86_machine(tmp_path: Path) -> None:
    files = {"proc/cpuinfo": EPYC, "proc/meminfo": "MemTotal:       16384000 kB\nMemFree: 1 kB\n"}
    root = fake(tmp_path, files | {"etc/os-release": 'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12"\n'})
    described = machine.describe(root)
    assert described["cpu"] == "AMD EPYC"
    assert described["flags"] == ["avx2", "avx512", "vnni"]
    assert described["memory_gib"] == 15.6
    assert described["os"] == "Debian GNU/Linux 12"
    assert described["virtual"]
    assert described["comparable"].startswith("relative only")


def test_a_bare_arm_board(tmp_path: Path) -> None:
    root = fake(tmp_path, {"proc/cpuinfo": PI})
    assert machine.cpu_flags(root) == ["neon", "dotprod"]
    assert not machine.is_virtual(root)


@pytest.mark.parametrize(("maker", "virtual"), [("QEMU", True), ("Amazon EC2", True), ("Dell Inc.", False)])
def test_the_maker_gives_a_virtual_machine_away(tmp_path: Path, maker: str, virtual: bool) -> None:
    root = fake(tmp_path, {"proc/cpuinfo": PI, "sys/class/dmi/id/sys_vendor": maker})
    assert machine.is_virtual(root) is virtual


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"proc/loadavg": "0.10 0.2 0.3 1/99 1"}, "bare metal"),
        ({"proc/loadavg": "999.5 0.2 0.3 1/99 1"}, "relative only: a shared machine, load 999.5"),
        (
            {"proc/loadavg": "0.10 0 0 1/9 1", "proc/stat": "cpu  400 0 100 400 0 0 0 100 0 0\ncpu0 1\n"},
            "relative only: a shared machine, 10.0% of its time went to others",
        ),
        ({"proc/loadavg": "0.10 0 0 1/9 1", "proc/stat": "cpu  400 0 100 400 0 0 0 0 0 0\n"}, "bare metal"),
        (
            {"proc/cpuinfo": EPYC, "proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "50000 100000"},
            "relative only: quota 0.5 CPU",
        ),
        ({"proc/cpuinfo": EPYC, "proc/loadavg": "999 0 0 1/9 1"}, "relative only: a virtual machine"),
    ],
)
def test_what_the_numbers_may_be_compared_with(tmp_path: Path, files: dict[str, str], expected: str) -> None:
    assert machine.describe(fake(tmp_path, files))["comparable"] == expected


def test_boards_tell_their_power_mode_and_why_they_are_slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, said in {"nvpmodel": "NV Power Mode: 15W\n2", "vcgencmd": "throttled=0x50002"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\nprintf '{said}\n'\n")
        (tmp_path / name).chmod(0o755)
    assert machine.describe(tmp_path)["power_mode"] is None
    assert machine.describe(tmp_path)["throttled"] is None
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    described = machine.describe(tmp_path)
    assert described["power_mode"] == "15W"
    assert described["throttled"] == ["frequency capped", "under-voltage since boot", "throttled since boot"]


def test_the_instruction_set_is_told(tmp_path: Path) -> None:
    assert machine.describe(fake(tmp_path, {"proc/cpuinfo": EPYC}))["instruction_set"] == "avx512_vnni"


def test_a_machine_that_tells_nothing_is_still_described(tmp_path: Path) -> None:
    described = machine.describe(tmp_path)
    assert described["memory_gib"] is None
    assert described["gpus"] == []
    assert described["os"]


def test_cores_are_taken_one_a_physical_core_and_the_first_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "allowed", lambda: {0, 1, 2, 3})
    topology = "sys/devices/system/cpu/cpu{}/topology/{}"
    for cpu in range(4):  # cpu 0 and 2 are threads of one core, 1 and 3 of the other
        fake(
            tmp_path, {topology.format(cpu, "core_id"): str(cpu % 2), topology.format(cpu, "physical_package_id"): "0"}
        )
    assert machine.pick_cores(1, tmp_path) == [3]
    assert machine.pick_cores(2, tmp_path) == [2, 3]
    assert machine.pick_cores(3, tmp_path) == [1, 2, 3]
    assert machine.pick_cores(9, tmp_path) == [0, 1, 2, 3]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot pin a process")
def test_pinning_binds_the_process() -> None:
    code = "import os; from benchmarks.device import machine; print([machine.pin(1), list(os.sched_getaffinity(0))])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    pinned, bound = json.loads(ended.stdout)
    assert pinned == bound
    assert len(bound) == 1
    assert machine.pin(10_000) is None


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc here")
def test_peak_memory_is_the_childs_own() -> None:
    ballast = np.ones(60_000_000)  # 480 MB in this process
    code = "import mmap; from benchmarks.device import machine; b = bytearray(50_000_000)"
    code += "; untouched = mmap.mmap(-1, 10**9);"
    code += " print(machine.peak_memory_mb())"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert 50 < float(ended.stdout) < 300
    own = machine.peak_memory_mb()
    assert own is not None
    assert own > ballast.nbytes / 1e6
