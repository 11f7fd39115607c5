"""Whether a device has what a bundle needs; runs there, on the standard library of Python 3.10 alone."""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

OLDEST = {  # module: its package, and the oldest version that reads today's files
    "numpy": ("numpy", (2, 0)),
    "PIL.Image": ("pillow", (11, 3)),
    "onnxruntime": ("onnxruntime", (1, 19)),
    "openvino": ("openvino", (2025, 3)),
    "tensorrt": ("tensorrt", (10, 3)),
    "tensorrt_rtx": ("tensorrt-rtx-cu13", (1, 0)),
}
RUNTIMES = {"tensorrt": ("tensorrt", "tensorrt_rtx")}  # kind of backend: its modules, any of them; else the kind's name
ARCHITECTURES = ("x86_64", "aarch64", "arm64")
IMPORT_S = 120.0  # of one module
IMPORT = """import importlib, os, sys
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
sys.modules["openvino_telemetry"] = None  # no runtime reports its use to its maker
importlib.import_module(sys.argv[1])
print(getattr(sys.modules[sys.argv[1].split(".")[0]], "__version__", "unknown"))"""


class System(NamedTuple):
    """What decides which packages can be installed."""

    python: str
    bits: int
    architecture: str
    libc: str


class ModuleResult(NamedTuple):
    """The version of a module, or why it does not import."""

    version: str
    error: str = ""


def import_module(module: str) -> ModuleResult:
    """Import a module in a process of its own, for it may crash."""
    try:
        ended = subprocess.run([sys.executable, "-c", IMPORT, module], capture_output=True, text=True, timeout=IMPORT_S)
    except subprocess.TimeoutExpired:
        return ModuleResult("", f"no answer within {IMPORT_S:g} s")
    printed = ended.stderr if ended.returncode else ended.stdout
    last = (printed.strip().splitlines() or [f"exit code {ended.returncode}"])[-1]
    return ModuleResult("", last) if ended.returncode else ModuleResult(last)


def find_problem(kinds: Sequence[str], system: System, imported: Callable[[str], ModuleResult]) -> str | None:
    """Why no engine of these kinds of backend can run; None if one can."""
    for module in ("numpy", "PIL.Image"):
        if problem := problem_of(module, imported(module), system):
            return problem
    problems = []
    for module in (module for kind in kinds for module in RUNTIMES.get(kind, (kind,))):
        problem = problem_of(module, imported(module), system)
        if problem is None:
            return None
        problems.append(problem)
    return next((problem for problem in problems if "got none" not in problem), problems[0])


def problem_of(module: str, result: ModuleResult, system: System) -> str | None:
    """Why a module cannot be used, and what to do; None if it can."""
    package, oldest = OLDEST[module]
    if result.error:
        return problem_of_import(package, result.error, system)
    version = re.match(r"(\d{1,6})\.(\d{1,6})", result.version)
    if version is None or tuple(map(int, version.groups())) < oldest:
        wanted = ".".join(map(str, oldest))
        return f"{package}: expected at least {wanted}, got {result.version}; pip install '{package}>={wanted}' there"
    return None


def problem_of_import(package: str, error: str, system: System) -> str:
    """What the error of an import means, and what to do."""
    kind = f"{system.architecture}, {system.bits} bits"
    if system.architecture not in ARCHITECTURES or system.bits != 64:
        expected = f"{' or '.join(ARCHITECTURES[:2])} with a 64-bit Python for {package}"
        return f"architecture: expected {expected}, got {kind}; install a 64-bit system"
    if newest := re.findall(r"GLIBC_([0-9.]+)", error):
        got = f"got {system.libc or 'none'}; install a newer system"
        return f"glibc: expected at least {newest[-1]} for {package}, {got}"
    if "ELF" in error or "Exec format" in error:
        return f"{package}: expected one for {kind}, got another: {error}; install it again on the device itself"
    if error.startswith("ModuleNotFoundError"):
        return f"{package}: expected it in Python {system.python}, got none; pip install {package} there"
    return f"{package}: expected that it imports, got: {error}; install it again"


if __name__ == "__main__":
    bits, libc = 64 if sys.maxsize > 2**32 else 32, " ".join(platform.libc_ver()).strip()
    here = System(platform.python_version(), bits, platform.machine(), libc)
    sys.stdout.write(json.dumps({"problem": find_problem(sys.argv[1:], here, import_module)}))
