from pathlib import Path

import pytest

from benchmarks.remote.requirements import ModuleResult, System, find_problem, import_module

GLIBC = "ImportError: /lib/libm.so.6: version `GLIBC_2.27' not found, version `GLIBC_2.34' not found (required by ort)"
ABSENT = ModuleResult("", "ModuleNotFoundError: No module named it")
MODULES = {
    "numpy": ModuleResult("2.4.6"),
    "PIL.Image": ModuleResult("12.0.0"),
    "onnxruntime": ModuleResult("1.31.1"),
    "openvino": ABSENT,
    "tensorrt": ABSENT,
    "tensorrt_rtx": ABSENT,
}
BOARD = System("3.11.2", 64, "aarch64", "glibc 2.31")


def problem(kinds: list[str], changes: dict[str, ModuleResult] | None = None, system: System = BOARD) -> str | None:
    return find_problem(kinds, system, (MODULES | (changes or {})).__getitem__)


def test_one_runtime_is_enough() -> None:
    assert problem(["openvino", "onnxruntime"]) is None
    assert problem(["tensorrt"], {"tensorrt_rtx": ModuleResult("1.7.1")}) is None


@pytest.mark.parametrize(
    ("module", "result", "expected"),
    [
        ("numpy", ModuleResult("1.26.4"), "numpy: expected at least 2.0, got 1.26.4; pip install 'numpy>=2.0' there"),
        ("PIL.Image", ABSENT, "pillow: expected it in Python 3.11.2, got none; pip install pillow there"),
        ("onnxruntime", ModuleResult("1.9.0"), "onnxruntime: expected at least 1.19, got 1.9.0"),
        ("onnxruntime", ModuleResult("unknown"), "onnxruntime: expected at least 1.19, got unknown"),
        ("onnxruntime", ModuleResult("", GLIBC), "glibc: expected at least 2.34 for onnxruntime, got glibc 2.31; inst"),
        ("onnxruntime", ModuleResult("", "wrong ELF class"), "onnxruntime: expected one for aarch64, 64 bits, got an"),
        ("onnxruntime", ModuleResult("", "exit code -4"), "onnxruntime: expected that it imports, got: exit code -4"),
        ("onnxruntime", ABSENT, "openvino: expected it in Python 3.11.2, got none; pip install openvino there"),
    ],
)
def test_what_is_lacking_is_named(module: str, result: ModuleResult, expected: str) -> None:
    assert (problem(["openvino", "onnxruntime"], {module: result}) or "none").startswith(expected)


@pytest.mark.parametrize(
    ("source", "version", "error"),
    [
        ("__version__ = '1.16.3'", "1.16.3", ""),
        ("", "unknown", ""),
        ("raise ImportError('no libc')", "", "ImportError: no libc"),
        ("import os; os.abort()", "", "exit code -6"),
        ("import absent_module", "", "ModuleNotFoundError: No module named 'absent_module'"),
    ],
)
def test_a_module_is_imported_in_a_process_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, version: str, error: str
) -> None:
    (tmp_path / "some_module.py").write_text(source)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert import_module("some_module") == ModuleResult(version, error)


@pytest.mark.parametrize("system", [System("3.11", 32, "armv7l", ""), System("3.11", 64, "riscv64", "")])
def test_another_architecture_is_the_reason_only_where_packages_fail(system: System) -> None:
    assert problem(["onnxruntime"], system=system) is None
    expected = f"expected x86_64 or aarch64 with a 64-bit Python for openvino, got {system.architecture}, "
    assert expected in (problem(["openvino"], system=system) or "none")
