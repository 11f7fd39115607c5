"""`tagger.pyz selftest`: what it prints of golden images and engines that differ, and of those that do not."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.cli.signing import write_keys, write_signature
from tests.helpers import selftests
from tests.helpers.once import Once


@pytest.fixture(scope="module")
def folder(once: Once) -> Path:
    return once("selftest", selftests.write) / "bundle"


def test_the_shipped_program_says_what_it_compared(folder: Path, tmp_path: Path) -> None:
    bundle = shutil.copytree(folder, tmp_path / "bundle")
    private, _ = write_keys(tmp_path / "key")
    write_signature(bundle, private)
    command = [sys.executable, "-I", str(bundle / "tagger.pyz"), "selftest", "--require-signature", "key.pub"]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    *lines, last = ended.stdout.splitlines()
    four = "golden/1.jpg, golden/2.jpg, golden/3.png, golden/4.jpg"
    assert lines[:5] == [
        f"decoded as expected: {four}",
        f"resized as expected: {four}",
        "scores of the engine: onnxruntime-fp32, openvino-fp32",
        "from files to scores: onnxruntime-fp32, openvino-fp32",
        "tags as expected: onnxruntime-fp32, openvino-fp32",
    ]
    assert lines[5].startswith("not tested: tensorrt-fp16-sm86: ")
    assert len(lines) == 6
    assert last == "self-test: passed"
    assert ended.stderr == ""


def test_json_holds_every_finding(run: Any) -> None:
    facts = run.json("selftest", "--json", "--engine", "openvino-fp32")
    assert facts["passed"] is True
    assert facts["not_run"] == {}
    assert len(facts["findings"]) == 2 * 4 + 3
    assert {one["state"] for one in facts["findings"]} == {"same"}
    assert {one["subject"] for one in facts["findings"] if one["step"] in ("engine", "all")} == {"openvino-fp32"}


def test_an_engine_that_differs_fails_the_test_and_the_others_are_told(run: Any, tmp_path: Path) -> None:
    def shift(arrays: dict[str, np.ndarray]) -> None:
        arrays["scores:openvino-fp32"] = arrays["scores:openvino-fp32"] * 0.9

    other = selftests.with_expected(run.bundle, tmp_path, shift)
    out, _ = run("selftest", bundle=other, code=1)
    assert "scores of the engine: onnxruntime-fp32\n" in out
    assert "scores of the engine, openvino-fp32: different: engine, by up to 0.0" in out
    assert out.splitlines()[-1] == "self-test: FAILED: engine (openvino-fp32)"
    both = ["--engine", "onnxruntime-fp32", "--engine", "openvino-fp32"]
    assert run("selftest", "--any-engine", *both, bundle=other)[0].splitlines()[-1] == "self-test: passed"
    run("selftest", "--engine", "onnxruntime-fp32", bundle=other)
    assert run.json("selftest", "--json", "--engine", "openvino-fp32", bundle=other, code=1)["passed"] is False


def test_a_decoder_that_differs_is_told_with_its_size(run: Any, tmp_path: Path) -> None:
    def darker(arrays: dict[str, np.ndarray]) -> None:
        arrays["decoded_1"] = arrays["decoded_1"] // 2
        arrays["decoded_2"] = np.minimum(arrays["decoded_2"], 254)

    other = selftests.with_expected(run.bundle, tmp_path, darker)
    out, _ = run("selftest", "--engine", "onnxruntime-fp32", "--any-engine", bundle=other, code=1)
    assert "decoded as expected: golden/1.jpg, golden/4.jpg\n" in out
    assert "decoded as expected, golden/2.jpg: different: JPEG decoder (RGB), by up to " in out
    assert "decoded as expected, golden/3.png: close: PNG decoder (RGBA), by up to 1 levels of 255\n" in out
    last = out.splitlines()[-1]
    assert last == "self-test: FAILED: JPEG decoder (RGB) (golden/2.jpg), resize kernel (golden/2.jpg)"


def test_a_bundle_of_which_nothing_runs_here_fails(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    facts = run.json("selftest", "--json", code=1)
    assert facts["passed"] is False
    assert len(facts["not_run"]) == 3
    assert run("selftest", code=1)[0].splitlines()[-1] == "self-test: FAILED: no engine of the bundle runs here"


def test_an_engine_that_is_asked_for_and_cannot_run_is_an_error(run: Any) -> None:
    err = run.refuse("selftest", "--engine", "tensorrt-fp16-sm86")
    assert "expected one that runs on this machine, got tensorrt-fp16-sm86: " in err
    run.refuse("selftest", "--engine", "tflite")


def test_a_changed_bundle_is_not_tested(run: Any, tmp_path: Path) -> None:
    other = selftests.with_expected(run.bundle, tmp_path, lambda _: None)
    image = other / "golden/1.jpg"
    image.write_bytes(image.read_bytes()[:-1])
    assert "golden/1.jpg: expected" in run.refuse("selftest", bundle=other)
