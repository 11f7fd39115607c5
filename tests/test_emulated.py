"""A bundle on processors that this machine is not, by emulation: right or wrong shows, fast or slow does not."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers import emulation, quantized

pytestmark = pytest.mark.slow
ARM = ("cortex-a72", "cortex-a76")  # Raspberry Pi 4 and 5: without and with dot products
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return quantized.write(tmp_path_factory.mktemp("quantized"))


@pytest.fixture(scope="module")
def saturating(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its 8-bit engine is wrong on x86 without VNNI, where it may have been built."""
    return quantized.write_saturating(tmp_path_factory.mktemp("saturating"))


def run_with(python: Path, cache: Path, environment: dict[str, str], bundle: Path, *words: object) -> str:
    """What a command of the bundle's program prints; it must succeed."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    variables |= {"XDG_CACHE_HOME": str(cache), **environment}
    command = list(map(str, [python, bundle / "tagger.pyz", *words]))
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=variables)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.mark.parametrize("processor", ARM)
def test_every_command_on_arm(processor: str, bundle: Path, saturating: Path, tmp_path: Path) -> None:
    reason = emulation.unavailable_reason()
    if reason is not None:
        pytest.skip(reason)
    python, cpu = emulation.arm_python(), {"ARM_CPU": processor}
    image = next((bundle / "golden").glob("*.jpg"))

    told = run_with(python, tmp_path, cpu, bundle, "selftest", "--json")
    facts = json.loads(told)
    engines = {one["subject"] for one in facts["findings"] if one["step"] == "engine"}
    assert engines == {
        "onnxruntime-fp32",
        "onnxruntime-int8",
        "onnxruntime-int8-signed",
        "openvino-fp32",
        "openvino-int8",
    }
    assert facts["passed"], told

    tagged = json.loads(run_with(python, tmp_path, cpu, bundle, "tag", "--json", "--threshold", "0", image))
    assert len(tagged["tags"]) == 3

    table = run_with(
        python, tmp_path, cpu, bundle, "bench", "--queries", "4", "--warmup-s", "0.1", "--engine", "onnxruntime-int8"
    )
    assert "\nonnxruntime-int8 " in table

    installed = run_with(python, tmp_path, cpu, saturating, "install", "--to", tmp_path / "installed")
    assert ": installed, " in installed
    lines = run_with(python, tmp_path, cpu, tmp_path / "installed/current", "selftest")
    assert lines.endswith("self-test: passed\n")  # both engines: nothing saturates on ARM


def test_x86_without_vnni_names_saturation(saturating: Path, tmp_path: Path) -> None:
    if not emulation.has_vnni():
        pytest.skip("this processor has no VNNI itself: test_saturation.py tests it without emulation")
    if shutil.which(emulation.QEMU_X86) is None:
        pytest.skip(f"expected {emulation.QEMU_X86}, got none; make arm")
    python = emulation.x86_python(tmp_path / "python", "Haswell-noTSX")
    image = next((saturating / "golden").glob("*.jpg"))
    run_with(python, tmp_path, {}, saturating, "selftest", "--any-engine")
    assert quantized.SEVEN_BITS in run_with(python, tmp_path, {}, saturating, "info")
    lines = run_with(python, tmp_path, {}, saturating, "selftest").splitlines()
    assert lines[-2].startswith(f"not for this processor: {quantized.SATURATING}: ")
    with pytest.raises(AssertionError, match=rf"saturation \({quantized.SATURATING}\); use "):
        run_with(python, tmp_path, {}, saturating, "selftest", "--engine", quantized.SATURATING)
    run_with(python, tmp_path, {}, saturating, "tag", image)
