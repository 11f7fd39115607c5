"""Python for other processors that runs on this one, by qemu's user mode: ARM in an environment of its own, older x86.

Results are those of the emulated processor; times are not, and /proc/cpuinfo stays this machine's.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from mlkd.core.cache import cache_root

FOLDER = cache_root() / "emulated-arm64"  # read before the tests name a cache of their own
QEMU_ARM, QEMU_X86 = "qemu-aarch64-static", "qemu-x86_64-static"
PYTHON = "3.11"  # that of Debian 12
DEBS = (
    *(f"{name}{PYTHON}{part}" for name, part in (("python", ""), ("python", "-minimal"))),
    *(f"libpython{PYTHON}-{part}" for part in ("stdlib", "minimal")),
    *("libc6", "libgcc-s1", "libstdc++6", "libgomp1", "libatomic1", "libcrypt1", "zlib1g", "libbz2-1.0", "liblzma5"),
    *("libexpat1", "libffi8", "libssl3", "libuuid1", "libncursesw6", "libtinfo6", "libreadline8", "libdb5.3"),
    "libsqlite3-0",
)
# onnxruntime 1.32 ends in a segmentation fault under qemu 7.2
WHEELS = ("numpy", "pillow", "onnxruntime==1.23.2", "openvino>=2025.3")
GLIBC = "aarch64-manylinux_2_35"  # openvino's wheel wants it, Debian 12 has 2.36
NOT_EMULATED = ("pcid", "x2apic", "tsc-deadline", "invpcid")  # of Haswell; qemu would warn at every start
ARM = """#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
exec env HOME="$here/user" OPENBLAS_NUM_THREADS=1 PYTHONHOME="$here/system/usr" PYTHONPATH="$here/site" \\
    {qemu} -cpu "${{ARM_CPU:?}}" -0 "$here/python" -L "$here/system" "$here/system/usr/bin/python{python}" "$@"
"""
X86 = """#!/bin/sh
exec {qemu} -cpu {cpu} -0 "$0" {python} "$@"
"""


def unavailable_reason() -> str | None:
    """Why ARM cannot be emulated here, with the next step."""
    for program in (QEMU_ARM, "apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            return f"emulation: expected {program} of Debian 12, got none; make arm"
    return None


def arm_python(folder: Path = FOLDER) -> Path:
    """A launcher for an aarch64 Python with numpy, Pillow and the runtimes; $ARM_CPU names the processor.

    Prepared once, in `folder` (340 MB, less than a minute); it needs Debian's archive and PyPI.
    """
    text = ARM.format(qemu=QEMU_ARM, python=PYTHON)
    version = hashlib.sha256("\n".join((*DEBS, *WHEELS, GLIBC, text)).encode()).hexdigest()
    folder.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        whole = folder / "whole"
        if not whole.is_file() or whole.read_text() != version:
            shutil.rmtree(folder)
            _system(folder)
            _packages(folder / "site")
            (folder / "user").mkdir()
            _launcher(folder / "python", text)
            whole.write_text(version)
    return folder / "python"


def x86_python(folder: Path, cpu: str) -> Path:
    """A launcher for this very Python and its packages on an older processor."""
    environment = Path(sys.prefix)
    (folder / "bin").mkdir(parents=True)
    shutil.copy(environment / "pyvenv.cfg", folder)
    (folder / "lib").symlink_to(environment / "lib")
    real = os.path.realpath(sys.executable)
    quiet = ",".join([cpu, *(f"-{feature}" for feature in NOT_EMULATED)])
    return _launcher(folder / "bin/python", X86.format(qemu=QEMU_X86, cpu=quiet, python=real))


def has_vnni() -> bool:
    """Whether this processor multiplies int8 without saturating."""
    flags = Path("/proc/cpuinfo").read_text().split()
    return bool({"avx512_vnni", "avx_vnni"} & set(flags))


def _system(folder: Path) -> None:
    """The files of Debian's arm64 packages, unpacked and never configured."""
    debs, lists = folder / "debs", folder / "lists"
    for made in (debs, lists / "partial", folder / "system"):
        made.mkdir(parents=True)
    settings = {
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64",
        "Dir::State::Lists": lists,
        "Dir::Cache": lists,
        "APT::Sandbox::User": "root",
    }
    apt = ["apt-get", "-q", *(f"-o{name}={value}" for name, value in settings.items())]
    _run([*apt, "update"], debs)
    _run([*apt, "download", *DEBS], debs)
    for deb in debs.iterdir():
        _run(["dpkg-deb", "-x", deb, folder / "system"], debs)
    for done in (debs, lists):
        shutil.rmtree(done)


def _packages(site: Path) -> None:
    uv = Path(sys.executable).with_name("uv")
    platform = ["--python-platform", GLIBC, "--python-version", PYTHON, "--only-binary", ":all:"]
    _run([uv, "pip", "install", "--quiet", "--target", site, *platform, *WHEELS], site.parent)


def _launcher(file: Path, text: str) -> Path:
    file.write_text(text)
    file.chmod(0o755)
    return file


def _run(command: list[object], folder: Path) -> None:
    subprocess.run(list(map(str, command)), cwd=folder, check=True, stdout=subprocess.DEVNULL)
