from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from benchmarks.remote.probe import Facts, judge, read, wanted

GLIBC = "ImportError: /lib/libm.so.6: version `GLIBC_2.27' not found, version `GLIBC_2.34' not found (required by ort)"
FINE: dict[str, tuple[str | None, str | None]] = {
    "numpy": ("2.4.6", None),
    "PIL.Image": ("12.0.0", None),
    "onnxruntime": ("1.31.1", None),
    "openvino": (None, "ModuleNotFoundError: No module named 'openvino'"),
}
BOARD = Facts(python="3.11.2", bits=64, architecture="aarch64", libc="glibc 2.31", modules=FINE)


def told(kinds: list[str], version: dict[str, Any] | None = None, **changes: Any) -> str | None:
    facts = dataclasses.replace(BOARD, modules=FINE | (version or {}))
    return judge(dataclasses.replace(facts, **changes), kinds)


def test_one_runtime_is_enough() -> None:
    assert told(["openvino", "onnxruntime"]) is None
    assert told(["tensorrt"], {"tensorrt_rtx": ("1.7.1", None)}) is None


@pytest.mark.parametrize(
    ("module", "found", "reason"),
    [
        ("numpy", ("1.26.4", None), "numpy: expected at least 2.0, got 1.26.4; pip install 'numpy>=2.0' there"),
        ("PIL.Image", (None, "ModuleNotFoundError: no"), "pillow: expected it in Python 3.11.2, got none; pip install"),
        ("onnxruntime", ("1.9.0", None), "onnxruntime: expected at least 1.19, got 1.9.0"),
        ("onnxruntime", ("unknown", None), "onnxruntime: expected at least 1.19, got unknown"),
        (
            "onnxruntime",
            (None, GLIBC),
            "glibc: expected at least 2.34 for onnxruntime, got glibc 2.31; install a newer",
        ),
        (
            "onnxruntime",
            (None, "wrong ELF class: ELFCLASS32"),
            "onnxruntime: expected one for aarch64, 64 bits, got an",
        ),
        ("onnxruntime", (None, "exit code -4"), "onnxruntime: expected that it imports, got: exit code -4"),
    ],
)
def test_what_is_lacking_is_named(module: str, found: tuple[str | None, str | None], reason: str) -> None:
    got = told(["openvino", "onnxruntime"], {module: found})
    assert got is not None
    assert got.startswith(reason)


def test_an_absent_runtime_is_named_when_no_other_is_there() -> None:
    assert told(["openvino"]) == "openvino: expected it in Python 3.11.2, got none; pip install openvino there"
    assert "got none of them" in str(told([]))


@pytest.mark.parametrize("changes", [{"architecture": "armv7l", "bits": 32}, {"bits": 32}, {"architecture": "riscv64"}])
def test_another_architecture_is_the_reason_only_where_packages_fail(changes: dict[str, Any]) -> None:
    assert told(["onnxruntime"], **changes) is None
    reason = told(["openvino"], **changes)
    assert reason is not None
    assert reason.startswith("architecture: expected x86_64 or aarch64 with a 64-bit Python for openvino, got ")


def test_facts_are_read_strictly_and_printable() -> None:
    module = {"version": None, "error": "a\x1b[2J\u202eb"}
    answer = {"python": "3", "bits": 64, "architecture": "x", "libc": "", "modules": {"numpy": module}}
    assert read(answer).modules == {"numpy": (None, "a [2J b")}
    assert read(answer).libc == "none"
    wrong: list[dict[str, Any]] = [
        {},
        answer | {"bits": "many"},
        answer | {"bits": float("inf")},
        answer | {"modules": ["numpy"]},
    ]
    for other in [*wrong, answer | {"modules": {"numpy": "2.0"}}]:
        with pytest.raises(ValueError, match="expected the facts of a device"):
            read(other)


def test_only_what_the_bundle_needs_is_asked_for() -> None:
    assert wanted(["onnxruntime"]) == ["numpy", "PIL.Image", "onnxruntime"]
    assert wanted(["tensorrt", "openvino"]) == ["numpy", "PIL.Image", "tensorrt", "tensorrt_rtx", "openvino"]
