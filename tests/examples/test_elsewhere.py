"""The programs in examples/elsewhere give the scores of the tagger; those of other languages are slow tests."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from mlkd.core import images
from tests.helpers import bundles
from tests.helpers.once import Once

ELSEWHERE = Path(__file__).parents[2] / "examples/elsewhere"
WEIGHTS = np.random.default_rng(0).normal(0, 0.3, (bundles.PX**2 * 3, len(bundles.LABELS))).astype(np.float32)
WEIGHTS -= WEIGHTS.mean(axis=0)  # scores near 0.5, where a grey level counts most
NOTHING = "nothing above its threshold"
RUNTIME = Path(str(openvino.__file__)).parent
Build = Callable[[Path], list[str]]


@pytest.fixture(scope="module")
def bundle(once: Once) -> Path:
    """A bundle whose scores depend on where a pixel is, with a tag for every label."""
    return once("positions", _write_positions) / "bundle"


def _write_positions(work: Path) -> None:
    folder = work / "bundle"
    shutil.copytree(bundles.write_colours(work / "colours", work / "parts"), folder)
    nodes = [
        helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["float"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["scores"]),
    ]
    shape = ["batch", bundles.PX, bundles.PX, 3]
    graph = helper.make_graph(
        nodes,
        "positions",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", len(bundles.LABELS)])],
        [numpy_helper.from_array(WEIGHTS / 255, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "models/fp32.onnx")
    (folder / "engines/fp32.xml").unlink()
    (folder / "engines/fp32.bin").unlink()
    converted_model = openvino.convert_model(folder / "models/fp32.onnx")
    openvino.save_model(converted_model, folder / "engines/fp32.xml", compress_to_fp16=False)
    set_thresholds(folder, 0)


def set_thresholds(folder: Path, threshold: float) -> None:
    tagger = json.loads((folder / "tagger.json").read_text())
    for model in tagger["models"]:
        model["thresholds"] = [threshold] * len(tagger["labels"])
    (folder / "tagger.json").write_text(json.dumps(tagger))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A large JPEG, a progressive one and a PNG in all EXIF orientations, a transparent and a tall PNG, a CMYK JPEG."""
    folder = tmp_path_factory.mktemp("photos")
    Image.fromarray(_smooth(1, 320, 400, grid=50)).save(folder / "large.jpg")
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[images.ORIENTATION] = orientation
        turned = Image.fromarray(_smooth(2, 30, 41))
        turned.save(folder / f"turned{orientation}.jpg", exif=exif, progressive=True, subsampling=0)
        turned.save(folder / f"turned{orientation}.png", exif=exif)
    Image.fromarray(_smooth(3, 37, 50, channels=4)).save(folder / "transparent.png")
    Image.fromarray(_smooth(5, 90, 30)).save(folder / "tall.png")
    Image.fromarray(_smooth(4, 37, 50)).convert("CMYK").save(folder / "cmyk.jpg")
    return sorted(folder.iterdir())


def _smooth(seed: int, height: int, width: int, channels: int = 3, grid: int = 6) -> NDArray[np.uint8]:
    coarse = np.random.default_rng(seed).integers(0, 256, (grid, grid, channels), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def expected(photo: Path) -> dict[str, float]:
    logits = images.load(photo, bundles.PX).reshape(-1) / 255 @ WEIGHTS.astype(np.float64)
    return dict(zip(bundles.LABELS, 1 / (1 + np.exp(-logits)), strict=True))


def check(command: list[str], bundle: Path, photos: list[Path], tolerance: float, tmp_path: Path) -> None:
    """Compare all scores at thresholds of 0, in the order of the scores; at 2 there is no tag."""
    printed = tags_of([*command, str(bundle), *map(str, photos)])
    assert list(printed) == [str(photo) for photo in photos]
    for photo in photos:
        tags = [tag.rsplit(" ", 1) for tag in printed[str(photo)].split(", ")]
        scores = {label: float(score) for label, score in tags}
        assert scores == pytest.approx(expected(photo), abs=tolerance + 0.005), photo.name
        assert list(scores.values()) == sorted(scores.values(), reverse=True)
    none = shutil.copytree(bundle, tmp_path / "none")
    set_thresholds(none, 2)
    assert tags_of([*command, str(none), str(photos[0])]) == {str(photos[0]): NOTHING}


def tags_of(command: list[str]) -> dict[str, str]:
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return dict(line.split(": ", 1) for line in ended.stdout.splitlines())


def make(command: list[str], folder: Path, needs: str, **environment: str) -> None:
    """Run a command of a build; the test is skipped if one of the programs it needs is missing."""
    missing = [name for name in needs.split() if shutil.which(name) is None]
    if missing:
        pytest.skip(f"expected {needs}, got no {', '.join(missing)}; install it (docs/elsewhere.md)")
    ended = subprocess.run(
        command, cwd=folder, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    if "npm" in command and ended.returncode:
        pytest.skip(f"npm cannot install: {ended.stderr[-300:]}")
    assert ended.returncode == 0, ended.stderr


def node(folder: Path) -> list[str]:
    shutil.copytree(ELSEWHERE / "node", folder)
    make(["npm", "install", "--no-audit", "--no-fund", "--no-package-lock"], folder, "npm node")
    return ["node", str(folder / "tag.js")]


def cpp(folder: Path) -> list[str]:
    folder.mkdir()
    make(["cmake", str(ELSEWHERE / "cpp"), "-D", f"OpenVINO_DIR={RUNTIME / 'cmake'}"], folder, "cmake g++ pkg-config")
    make(["cmake", "--build", "."], folder, "cmake g++")
    return [str(folder / "tag")]


def go(folder: Path) -> list[str]:
    folder.mkdir()
    libraries = RUNTIME / "libs"
    name = next(libraries.glob("libopenvino_c.so*")).name
    make(
        ["go", "build", "-o", str(folder / "tag"), "."], ELSEWHERE / "go", "go gcc",
        CGO_CFLAGS=f"-I{RUNTIME / 'include'}", CGO_LDFLAGS=f"-L{libraries} -l:{name} -Wl,-rpath,{libraries}",
    )  # fmt: skip
    return [str(folder / "tag")]


def test_python(bundle: Path, photos: list[Path], tmp_path: Path) -> None:
    check([sys.executable, str(ELSEWHERE / "python/tag.py")], bundle, photos, 0.0001, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("build", "tolerance"), [(node, 0.05), (cpp, 0.001), (go, 0.05)])
def test_other_languages(build: Build, tolerance: float, bundle: Path, photos: list[Path], tmp_path: Path) -> None:
    check(build(tmp_path / "program"), bundle, photos, tolerance, tmp_path)


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
    ended = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": str(packages)}
    )
    assert ended.returncode == 0, ended.stderr
    printed = dict(line.split(": ", 1) for line in ended.stdout.splitlines())
    for photo in photos:
        text = printed[str(photo)]
        tags = set() if text == NOTHING else {tag.rsplit(" ", 1)[0] for tag in text.split(", ")}
        assert tags == {label for label, score in expected(photo).items() if score >= 0.3}, photo.name


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
