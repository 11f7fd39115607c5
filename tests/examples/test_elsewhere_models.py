"""The files for Triton Inference Server and OpenVINO Model API have the labels, thresholds and scores of the tagger."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import openvino
import pytest

from mlkd.core import images
from tests.helpers import bundles
from tests.helpers.positions import expected, redescribed, set_thresholds

ELSEWHERE = Path(__file__).parents[2] / "examples/elsewhere"
NOTHING = "nothing above its threshold"


def test_triton_repository_has_the_interface_labels_and_thresholds(bundle: Path, tmp_path: Path) -> None:
    folder = write_repository(bundle, tmp_path)
    assert (folder / "1/model.onnx").read_bytes() == (bundle / "models/fp32.onnx").read_bytes()
    assert (folder / "labels.txt").read_text().splitlines() == list(bundles.LABELS)
    config = (folder / "config.pbtxt").read_text()
    for part in ('"images" data_type: TYPE_UINT8 dims: [16, 16, 3]', '"scores" data_type: TYPE_FP32 dims: [ 3 ]'):
        assert part in config
    assert r"{\"red\": 0, \"green\": 0, \"blue\": 0}" in config


def write_repository(bundle: Path, tmp_path: Path) -> Path:
    script = str(ELSEWHERE / "triton/write_repository.py")
    subprocess.run([sys.executable, script, str(bundle), str(tmp_path / "repository")], check=True)
    return tmp_path / "repository/colours"


@pytest.mark.slow
def test_triton_config_has_the_fields_of_the_protocol(bundle: Path, tmp_path: Path) -> None:
    packages = install(tmp_path, "tritonclient")
    config = write_repository(bundle, tmp_path) / "config.pbtxt"
    parsed = _python(
        packages / "tritonclient/grpc",  # the protocol alone, without gRPC
        "import model_config_pb2 as protocol; from google.protobuf import text_format",
        f"config = text_format.Parse(open({str(config)!r}).read(), protocol.ModelConfig())",
        "print(config.name, config.backend, list(config.input[0].dims), config.output[0].label_filename)",
    )
    assert parsed == "colours onnxruntime [16, 16, 3] labels.txt\n"


def test_model_api_file_has_labels_and_decides_as_the_thresholds(
    bundle: Path, photos: list[Path], tmp_path: Path
) -> None:
    model = openvino.Core().read_model(converted(bundle, tmp_path, 0.3))
    information = {name: model.get_rt_info(["model_info", name]).astype(str) for name in ("labels", "multilabel")}
    assert information == {"labels": "red green blue", "multilabel": "True"}
    compiled = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    decisions = set()
    for photo in photos:
        logits = compiled(images.load(photo, bundles.PX)[None])[0][0]
        for logit, score in zip(logits, expected(photo).values(), strict=True):
            assert 1 / (1 + np.exp(-(logit + np.log(0.3 / 0.7)))) == pytest.approx(score, abs=1e-4)
            decisions.add((bool(logit > 0), score >= 0.3))
    assert decisions == {(True, True), (False, False)}


def converted(bundle: Path, tmp_path: Path, threshold: float) -> Path:
    folder = shutil.copytree(bundle, tmp_path / "thresholds")
    set_thresholds(folder, threshold)
    script = str(ELSEWHERE / "openvino_model_api/convert.py")
    subprocess.run([sys.executable, script, str(folder), str(tmp_path / "tagger.xml")], check=True)
    return tmp_path / "tagger.xml"


@pytest.mark.slow
def test_model_api_gives_the_tags(bundle: Path, photos: list[Path], tmp_path: Path) -> None:
    packages = install(tmp_path, "openvino-model-api", "opencv-python-headless")
    model = converted(bundle, tmp_path, 0.3)
    command = [sys.executable, str(ELSEWHERE / "openvino_model_api/tag.py"), str(model), *map(str, photos)]
    environment = os.environ | {"PYTHONPATH": str(packages)}
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert ended.returncode == 0, ended.stderr
    without = subprocess.run(command[:2], capture_output=True, text=True, check=False, env=environment)
    assert without.stderr == "usage: tag.py MODEL.xml IMAGE...\n"
    printed = dict(line.split(": ", 1) for line in ended.stdout.splitlines())
    for photo in photos:
        text = printed[str(photo)]
        tags = set() if text == NOTHING else {tag.rsplit(" ", 1)[0] for tag in text.split(", ")}
        assert tags == {label for label, score in expected(photo).items() if score >= 0.3}, photo.name


@pytest.mark.parametrize("script", ["openvino_model_api/convert.py", "triton/write_repository.py"])
def test_other_versions_are_refused_before_anything_is_written(script: str, bundle: Path, tmp_path: Path) -> None:
    assert "usage: " in error_of(script)
    other, target = redescribed(bundle, tmp_path / "other", version=99), tmp_path / "target.xml"
    error = error_of(script, other, target)
    assert error.startswith(f"{other}/tagger.json: expected version 1")
    assert "got 99" in error
    assert not target.exists()


def test_a_model_for_model_api_needs_the_steps_of_its_program(bundle: Path, tmp_path: Path) -> None:
    steps = images.PREPROCESSING | {"resize": "nearest"}
    other = redescribed(bundle, tmp_path / "other", preprocessing=steps)
    assert "'resize': 'nearest'" in error_of("openvino_model_api/convert.py", other, tmp_path / "target.xml")


def test_a_triton_repository_keeps_the_model_that_it_has(bundle: Path, tmp_path: Path) -> None:
    folder = write_repository(bundle, tmp_path)
    error = error_of("triton/write_repository.py", bundle, tmp_path / "repository")
    assert error.startswith(f"{folder}: expected no folder of this name")


def error_of(script: str, *arguments: Path) -> str:
    """The errors of a script that fails."""
    command = [sys.executable, str(ELSEWHERE / script), *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    return ended.stderr


def install(tmp_path: Path, *packages: str) -> Path:
    """Install packages without what they need, into a folder of the test."""
    folder = tmp_path / "packages"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), *packages]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        pytest.skip(f"pip cannot install {', '.join(packages)}: {ended.stderr[-300:]}")
    return folder


def _python(packages: Path, *lines: str) -> str:
    command = [sys.executable, "-c", "\n".join(lines)]
    environment = os.environ | {"PYTHONPATH": str(packages)}
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout
