"""The same image has the same pixels and scores on every path: prepared, by the library, by the program."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from PIL import Image

from export.backends import Session
from export.bundle.bundle import read_bundle
from export.tagger import Tagger
from export.tagger.engine_choice import backend_of
from mlkd.core.images import load
from mlkd.data import Folder
from mlkd.data.preparation import prepare
from mlkd.data.prepared import read_split
from tests.helpers import bundles, selftests, wild

PX = bundles.PX
ENGINES = ("onnxruntime-fp32", "openvino-fp32")
WILD = wild.images()
SAME = 1e-6  # float32 scores in 0..1; the program prints so many digits


def looking_at_every_pixel(model: onnx.ModelProto) -> None:
    """Weights of its own for each value of the image: whatever moves or swaps any of them moves the scores."""
    rng = np.random.default_rng(0)
    weights = (rng.normal(size=(PX * PX * 3, 3)) * 4 / 255 / PX).astype(np.float32)
    (gain,) = (one for one in model.graph.initializer if one.name == "gain")
    gain.CopyFrom(numpy_helper.from_array(weights, "gain"))
    (bias,) = (one for one in model.graph.initializer if one.name == "bias")
    bias.CopyFrom(numpy_helper.from_array(np.zeros(3, np.float32), "bias"))
    (mean,) = (node for node in model.graph.node if node.op_type == "ReduceMean")
    mean.CopyFrom(helper.make_node("Flatten", ["float"], ["mean"], axis=1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("same")
    plain = bundles.write_colours(work / "plain", work / "work")
    return selftests.with_model(plain, work, looking_at_every_pixel)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One of every kind, and one large enough that a JPEG is decoded at a reduced scale."""
    root = tmp_path_factory.mktemp("wild")
    contents = {name: image.content for name, image in WILD.items()}
    large = Image.fromarray(np.random.default_rng(0).integers(0, 255, (9, 12, 3), np.uint8)).resize((640, 480))
    contents["large.jpg"] = wild.saved(large, "JPEG", exif=wild.exif(6))
    for name, content in contents.items():
        (root / name).write_bytes(content)
    return [root / name for name in contents]


@pytest.fixture(scope="module")
def pixels(files: list[Path]) -> NDArray[np.uint8]:
    return np.stack([load(file, PX) for file in files])


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def session(folder: Path, engine: str) -> Iterator[Session]:
    """As the pipeline opens it."""
    entry = read_bundle(folder).engine(engine)
    with backend_of(entry).open(folder / entry.file) as session:
        yield session


@pytest.fixture(scope="module")
def expected(session: Session, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return session(pixels)


def test_the_engine_sees_every_pixel(session: Session, pixels: NDArray[np.uint8]) -> None:
    """Or equal scores would say little."""
    for other in (pixels[:, ::-1], pixels[:, :, ::-1], pixels[..., ::-1], np.roll(pixels, 1, axis=2)):
        assert np.abs(session(np.ascontiguousarray(other)) - session(pixels)).max(1).mean() > 0.05


def test_images_prepared_for_training_and_evaluation(
    files: list[Path], pixels: NDArray[np.uint8], tmp_path: Path
) -> None:
    root, lines = files[0].parent, ["file,tags,split"]
    for split in ("train", "val", "val", "val", "val"):
        name = f"noise-{len(lines)}.png"
        noise = np.random.default_rng(len(lines)).integers(0, 255, (20, 20, 3), np.uint8)
        Image.fromarray(noise).save(root / name)
        lines.append(f"{name},{'tag' if len(lines) % 2 else 'other'},{split}")
    lines += [f"{file.name},tag,test" for file in files]
    (root / "tags.csv").write_text("\n".join(lines) + "\n")
    prepare(Folder(root=root), tmp_path / "prepared", (PX, 2 * PX))
    split = read_split(tmp_path / "prepared", "test")
    assert not json.loads((tmp_path / "prepared/skipped.json").read_text())
    rows = [split.files.index(file) for file in files]
    np.testing.assert_array_equal(split.pixels(PX)[rows], pixels)
    np.testing.assert_array_equal(split.pixels(2 * PX)[rows], [load(file, 2 * PX) for file in files])


def test_the_library_takes_a_path_or_bytes(
    folder: Path, engine: str, files: list[Path], pixels: NDArray[np.uint8], expected: NDArray[np.float32]
) -> None:
    with Tagger.load(folder, engine) as tagger:
        for file, image, scores in zip(files, pixels, expected, strict=True):
            for source in (file, str(file), file.read_bytes(), image):
                tags = dict(tagger.tag(source, threshold=0.0))
                np.testing.assert_allclose([tags[label] for label in bundles.LABELS], scores, rtol=0, atol=SAME)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF:UserWarning")  # of the test's own Image.open
def test_the_library_takes_an_open_image(folder: Path, files: list[Path], pixels: NDArray[np.uint8]) -> None:
    """Nothing of a JPEG is reduced then, so that only small ones are the same."""
    with Tagger.load(folder, ENGINES[0]) as tagger:
        for file, expected in zip(files, pixels, strict=True):
            if file.name == "large.jpg":
                continue
            with Image.open(file) as image:
                np.testing.assert_array_equal(tagger.resize(tagger.decode(image)), expected, err_msg=file.name)


def ran(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", str(folder / "tagger.pyz"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder.parent)


@pytest.mark.parametrize("engine", ENGINES[:1], indirect=True)
def test_the_shipped_program_prints_the_same_scores(
    folder: Path, engine: str, files: list[Path], expected: NDArray[np.float32]
) -> None:
    words = ["tag", "--engine", engine, "--json", "--threshold", "0"]
    ended = ran(folder, *words, *map(str, files))
    assert ended.returncode == 0, ended.stderr
    printed = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [line["image"] for line in printed] == list(map(str, files))
    for line, scores in zip(printed, expected, strict=True):
        found = {tag["label"]: tag["score"] for tag in line["tags"]}
        np.testing.assert_allclose([found[label] for label in bundles.LABELS], scores, rtol=0, atol=SAME)


@pytest.fixture(scope="module")
def written(folder: Path, files: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the program put the scores that accuracy is measured with."""
    out = tmp_path_factory.mktemp("scores")
    (out / "list.txt").write_text("\n".join(map(str, files)))
    engines = [word for engine in ENGINES for word in ("--engine", engine)]
    words = [*engines, "--batch", "7", "--images", str(out / "list.txt"), "--out", str(out)]
    ended = ran(folder, "scores", *words)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return out


def test_the_scores_that_accuracy_is_measured_with(written: Path, engine: str, expected: NDArray[np.float32]) -> None:
    np.testing.assert_allclose(np.load(written / f"{engine}.npy"), expected, rtol=0, atol=SAME)
