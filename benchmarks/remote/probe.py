"""Whether a device has what a bundle needs: the agent brings facts, the desk judges."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.remote.faults import plain

MODULES = {  # of each kind of backend, any of
    "onnxruntime": ("onnxruntime",),
    "openvino": ("openvino",),
    "tensorrt": ("tensorrt", "tensorrt_rtx"),
}
NEEDED = ("numpy", "PIL.Image")
PACKAGES = {"PIL.Image": "pillow", "tensorrt_rtx": "tensorrt-rtx-cu13"}
OLDEST = {  # that read today's files
    "numpy": (2, 0),
    "PIL.Image": (11, 3),
    "onnxruntime": (1, 19),
    "openvino": (2025, 3),
    "tensorrt": (10, 3),
    "tensorrt_rtx": (1, 0),
}
NO_KIND = "runtimes: expected one that the bundle has engines of, got none of them; correct devices.yaml"
ARCHITECTURES = ("x86_64", "aarch64", "arm64")


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the agent found; every text is printable."""

    python: str
    bits: int
    architecture: str
    libc: str
    modules: Mapping[str, tuple[str | None, str | None]]  # version, or the error of the import


def wanted(kinds: Iterable[str]) -> list[str]:
    """The modules to ask for."""
    return [*NEEDED, *(module for kind in kinds for module in MODULES[kind])]


def read(answer: Mapping[str, Any]) -> Facts:
    """The agent's answer, checked; raises ValueError for one of another shape."""
    try:
        return Facts(
            python=plain(str(answer["python"])),
            bits=int(answer["bits"]),
            architecture=plain(str(answer["architecture"])),
            libc=plain(str(answer["libc"])) or "none",
            modules={
                str(name): (_text(found["version"]), _text(found["error"])) for name, found in answer["modules"].items()
            },
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as cause:
        raise ValueError(f"expected the facts of a device, got none: {cause!r}") from None


def judge(facts: Facts, kinds: Sequence[str]) -> str | None:
    """Why no engine of these kinds can run there; None if one can."""
    for module in NEEDED:
        if (reason := _lacking(facts, module)) is not None:
            return reason
    reasons = [_lacking(facts, module) for kind in kinds for module in MODULES[kind]]
    if None in reasons:
        return None
    told = [reason for reason in reasons if reason is not None]
    installed = [reason for reason in told if "got none" not in reason]
    return (installed or told or [NO_KIND])[0]


def _lacking(facts: Facts, module: str) -> str | None:
    version, error = facts.modules.get(module, (None, "not asked for"))
    package, oldest = PACKAGES.get(module, module), ".".join(map(str, OLDEST[module]))
    if error is not None:
        return _failed_import(facts, package, error)
    found = re.match(r"(\d{1,6})\.(\d{1,6})", version or "")
    if found is None or tuple(map(int, found.groups())) < OLDEST[module]:
        return f"{package}: expected at least {oldest}, got {version}; pip install '{package}>={oldest}' there"
    return None


def _failed_import(facts: Facts, package: str, error: str) -> str:
    there = f"{facts.architecture}, {facts.bits} bits"
    if facts.architecture not in ARCHITECTURES or facts.bits != 64:
        return (
            f"architecture: expected {' or '.join(ARCHITECTURES[:2])} with a 64-bit Python for {package}, "
            f"got {there}; install a 64-bit system"
        )
    if newest := re.findall(r"GLIBC_([0-9.]+)", error):
        return f"glibc: expected at least {newest[-1]} for {package}, got {facts.libc}; install a newer system"
    if "ELF" in error or "Exec format" in error:
        return f"{package}: expected one for {there}, got another: {error}; install it again on the device itself"
    if error.startswith("ModuleNotFoundError"):
        return f"{package}: expected it in Python {facts.python}, got none; pip install {package} there"
    return f"{package}: expected that it imports, got: {error}; install it again"


def _text(value: Any) -> str | None:
    return None if value is None else plain(str(value))
