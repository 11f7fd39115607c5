from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from export.bundle import signature
from pipeline.tagger_cli import main
from tests.helpers import selftests


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return selftests.write(tmp_path_factory.mktemp("selftest"))


def test_the_shipped_program_says_what_it_compared(folder: Path, tmp_path: Path) -> None:
    bundle = shutil.copytree(folder, tmp_path / "bundle")
    private = Ed25519PrivateKey.generate()
    made = private.sign(signature.message((bundle / "manifest.json").read_bytes()))
    (bundle / "manifest.sig").write_bytes(signature.line(private.public_key(), made))
    write_key(tmp_path / "key.pub", private)
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


def write_key(file: Path, private: Ed25519PrivateKey) -> None:
    file.write_bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def test_nothing_unsigned_is_tested_with_a_key(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_key(tmp_path / "key.pub", Ed25519PrivateKey.generate())
    words = ["selftest", "--bundle", str(folder), "--engine", "onnxruntime-fp32"]
    assert main([*words, "--require-signature", str(tmp_path / "key.pub")]) == 2
    assert "expected a signature by " in capsys.readouterr().err


def told(capsys: pytest.CaptureFixture[str], code: int, *words: str) -> Any:
    assert main(["selftest", "--json", *words]) == code
    out, err = capsys.readouterr()
    assert err == ""
    return json.loads(out)


def test_json_holds_every_finding(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = told(capsys, 0, "--bundle", str(folder), "--engine", "openvino-fp32")
    assert facts["passed"] is True
    assert facts["not_run"] == {}
    assert len(facts["findings"]) == 2 * 4 + 3
    assert {one["state"] for one in facts["findings"]} == {"same"}
    assert {one["subject"] for one in facts["findings"] if one["step"] in ("engine", "all")} == {"openvino-fp32"}


def test_an_engine_that_differs_fails_the_test_and_the_others_are_told(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def shift(arrays: dict[str, np.ndarray]) -> None:
        arrays["scores:openvino-fp32"] = arrays["scores:openvino-fp32"] * 0.9

    other = selftests.with_expected(folder, tmp_path, shift)
    assert main(["selftest", "--bundle", str(other)]) == 1
    out = capsys.readouterr().out
    assert "scores of the engine: onnxruntime-fp32\n" in out
    assert "scores of the engine, openvino-fp32: different: engine, by up to 0.0" in out
    assert out.splitlines()[-1] == "self-test: FAILED: engine (openvino-fp32)"
    assert main(["selftest", "--bundle", str(other), "--any-engine"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "self-test: passed"
    assert main(["selftest", "--bundle", str(other), "--engine", "onnxruntime-fp32"]) == 0
    capsys.readouterr()
    assert told(capsys, 1, "--bundle", str(other), "--engine", "openvino-fp32")["passed"] is False


def test_a_decoder_that_differs_is_told_with_its_size(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def darker(arrays: dict[str, np.ndarray]) -> None:
        arrays["decoded_1"] = arrays["decoded_1"] // 2
        arrays["decoded_2"] = np.minimum(arrays["decoded_2"], 254)

    other = selftests.with_expected(folder, tmp_path, darker)
    assert main(["selftest", "--bundle", str(other), "--engine", "onnxruntime-fp32", "--any-engine"]) == 1
    out = capsys.readouterr().out
    assert "decoded as expected: golden/1.jpg, golden/4.jpg\n" in out
    assert "decoded as expected, golden/2.jpg: different: JPEG decoder (RGB), by up to " in out
    assert "decoded as expected, golden/3.png: close: PNG decoder (RGBA), by up to 1 levels of 255\n" in out
    last = out.splitlines()[-1]
    assert last == "self-test: FAILED: JPEG decoder (RGB) (golden/2.jpg), resize kernel (golden/2.jpg)"


def test_a_bundle_of_which_nothing_runs_here_fails(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    facts = told(capsys, 1, "--bundle", str(folder))
    assert facts["passed"] is False
    assert len(facts["not_run"]) == 3
    assert main(["selftest", "--bundle", str(folder)]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "self-test: FAILED: no engine of the bundle runs here"


def test_an_engine_that_is_asked_for_and_cannot_run_is_an_error(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["selftest", "--bundle", str(folder), "--engine", "tensorrt-fp16-sm86"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "expected one that runs on this machine, got tensorrt-fp16-sm86: " in err
    assert main(["selftest", "--bundle", str(folder), "--engine", "tflite"]) == 2


def test_a_changed_bundle_is_not_tested(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = selftests.with_expected(folder, tmp_path, lambda _: None)
    image = other / "golden/1.jpg"
    image.write_bytes(image.read_bytes()[:-1])
    assert main(["selftest", "--bundle", str(other)]) == 2
    assert "golden/1.jpg: expected" in capsys.readouterr().err
