import dataclasses
import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from export.backends import OnnxRuntime
from export.bundle.bundle import read_bundle
from export.errors import BundleError, NoEngineError
from export.tagger import EngineTimes, Tagger, choose
from export.tagger.engine_choice import backend_of
from mlkd.core.images import UnreadableImageError, load
from tests.helpers import bundles

ENGINES = ("onnxruntime-fp32", "openvino-fp32")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return bundles.write_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module", params=ENGINES)
def tagger(colours: Path, request: pytest.FixtureRequest) -> Iterator[Tagger]:
    with Tagger.load(colours, request.param) as opened:
        yield opened


@pytest.mark.parametrize(("name", "labels"), [("red", ["red"]), ("blue", ["blue"]), ("yellow", ["green", "red"])])
def test_tags_say_what_is_on_the_image(tagger: Tagger, images: dict[str, Path], name: str, labels: list[str]) -> None:
    tags = tagger.tag(images[name])
    assert sorted(tag.label for tag in tags) == labels
    assert all(tag.score > 0.9 for tag in tags)


def test_scores_are_those_of_the_formula(tagger: Tagger, images: dict[str, Path]) -> None:
    pixels = np.stack([load(file, bundles.PX) for file in images.values()])
    expected = 1 / (1 + np.exp(6 - 12 * pixels.astype(np.float64).mean((1, 2)) / 255))
    np.testing.assert_allclose(tagger.scores(pixels), expected, atol=1e-5)


def test_every_way_to_give_an_image_gives_the_same_tags(tagger: Tagger, images: dict[str, Path]) -> None:
    file = images["yellow"]
    expected = tagger.tag(file)
    with Image.open(file) as image:
        opened = image.copy()
    assert tagger.tag(str(file)) == expected
    assert tagger.tag(file.read_bytes()) == expected
    assert tagger.tag(opened) == expected
    assert tagger.tag(np.asarray(opened)) == expected


def test_a_transparent_or_turned_pillow_image_is_prepared_like_a_file(tagger: Tagger, tmp_path: Path) -> None:
    image = Image.new("RGBA", (20, 10), (255, 0, 0, 0))  # wholly transparent: white after all
    assert len(tagger.tag(image)) == 3
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = Image.new("RGB", (20, 10))
    turned.save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as again:
        assert tagger.decode(again).size == (10, 20)


@pytest.mark.parametrize("what", [io.BytesIO(b"x"), bytearray(b"x"), None, 5])
def test_what_is_no_image_is_refused_by_its_kind(tagger: Tagger, what: Any) -> None:
    message = rf"image: expected a path, bytes, .* or an array, got {type(what).__name__}; convert it"
    with pytest.raises(ValueError, match=message):
        tagger.tag(what)


def test_threshold_and_top_k(tagger: Tagger, images: dict[str, Path]) -> None:
    every = tagger.tag(images["red"], threshold=0.0)
    assert len(every) == 3
    assert every[0].label == "red"
    assert [tag.score for tag in every] == sorted((tag.score for tag in every), reverse=True)
    assert tagger.tag(images["red"], threshold=0.0, top_k=2) == every[:2]
    assert tagger.tag(images["red"], labels=["blue"]) == []
    with pytest.raises(ValueError, match=r"top_k: expected at least 1, got -1"):
        tagger.tag(images["red"], top_k=-1)
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match=f"threshold: expected a score of 0 to 1, got {wrong}"):
            tagger.tag(images["red"], threshold=wrong)


def test_each_label_has_its_own_threshold(colours: Path, images: dict[str, Path]) -> None:
    with Tagger.load(colours, "onnxruntime-fp32") as opened:
        red = next(tag.score for tag in opened.tag(images["yellow"], threshold=0.0) if tag.label == "red")
        limits = (float(np.nextafter(np.float32(red), 2)), 0.0, 0.0)
        entry = dataclasses.replace(opened.choice.entry, thresholds=limits)
        strict = dataclasses.replace(opened, choice=dataclasses.replace(opened.choice, entry=entry))
        assert {tag.label for tag in strict.tag(images["yellow"])} == {"green", "blue"}


def test_only_the_labels_asked_for_are_given(tagger: Tagger, images: dict[str, Path]) -> None:
    assert [tag.label for tag in tagger.tag(images["yellow"], labels=["red", "blue"])] == ["red"]
    assert tagger.tag(images["yellow"], labels=[]) == []
    every = tagger.tag(images["red"], threshold=0.0, labels=["blue", "green", "red"])
    assert every == tagger.tag(images["red"], threshold=0.0)


def test_an_unknown_label_is_refused_with_the_closest(tagger: Tagger, images: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match=r"expected one of 3 known labels, got 'gren'; did you mean green"):
        tagger.tag(images["red"], labels=["red", "gren"])


@pytest.mark.parametrize("array", [np.zeros((4, 4, 3)), np.zeros((4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)])
def test_a_wrong_array_is_refused(tagger: Tagger, array: Any) -> None:
    with pytest.raises(UnreadableImageError, match=r"expected uint8 \(H, W, 3\), got"):
        tagger.tag(array)


def test_a_truncated_image_is_refused(tagger: Tagger, images: dict[str, Path]) -> None:
    with pytest.raises(UnreadableImageError):
        tagger.tag(images["red"].read_bytes()[:200])


def test_the_first_engine_that_runs_here_is_chosen_unless_they_are_measured(colours: Path) -> None:
    choice = choose(read_bundle(colours))
    assert choice.entry.name == "onnxruntime-fp32"
    assert choice.why == "the first in the bundle's order that runs here"
    assert choice.rejected.startswith("tensorrt-fp16-sm86: ")


def test_the_fastest_that_was_measured_is_chosen(colours: Path) -> None:
    manifest = read_bundle(colours)
    measured = EngineTimes(
        p50_ms={"onnxruntime-fp32": 3.0, "openvino-fp32": 2.0}, unusable={"tensorrt-fp16-sm86": "no GPU"}, where="there"
    )
    choice = choose(manifest, times=measured)
    assert choice.entry.name == "openvino-fp32"
    assert choice.why == "the fastest on this machine, 2.00 ms measured there"
    assert choice.rejected == "tensorrt-fp16-sm86: no GPU"
    choice = choose(manifest, times=measured, refused={"openvino-fp32": "no memory"})
    assert choice.entry.name == "onnxruntime-fp32"
    assert choice.why.endswith("3.00 ms measured there")
    assert choice.rejected == "tensorrt-fp16-sm86: no GPU; openvino-fp32: no memory"
    choice = choose(manifest, times=measured, refused={"openvino-fp32": "no GPU"})
    assert choice.rejected == "tensorrt-fp16-sm86, openvino-fp32: no GPU"
    assert choose(manifest, "onnxruntime-fp32", times=measured).why == "requested"


def test_an_engine_that_failed_when_it_was_measured_runs_when_it_is_asked_for(colours: Path) -> None:
    failed = EngineTimes(p50_ms={}, unusable={"onnxruntime-fp32": "it ended the process"}, where="there")
    manifest = read_bundle(colours)
    assert choose(manifest, times=failed).entry.name == "openvino-fp32"
    assert choose(manifest, "onnxruntime-fp32", times=failed).entry.name == "onnxruntime-fp32"


def test_an_engine_that_cannot_run_here_says_what_it_lacks(colours: Path) -> None:
    with pytest.raises(NoEngineError, match=r"expected one that runs on this machine, got tensorrt-fp16-sm86: \w+"):
        Tagger.load(colours, "tensorrt-fp16-sm86")


def test_an_unknown_engine_is_refused_with_those_there_are(colours: Path) -> None:
    with pytest.raises(BundleError, match=r"expected one of tensorrt-fp16-sm86, onnxruntime-fp32.*got 'tflite'"):
        Tagger.load(colours, "tflite")


def test_the_backend_is_rebuilt_with_other_threads() -> None:
    entry = bundles.engine("a", OnnxRuntime(threads=1), ("a",))
    assert backend_of(entry) == OnnxRuntime(threads=1)
    assert backend_of(entry, threads=2) == OnnxRuntime(threads=2)


@pytest.mark.parametrize(
    ("change", "message"), [({"kind": "tflite"}, "expected one of .*got 'tflite'"), ({"speed": 3}, "got also .'speed'")]
)
def test_a_foreign_backend_is_refused(change: dict[str, Any], message: str) -> None:
    entry = bundles.engine("a", OnnxRuntime(), ("a",))
    with pytest.raises(BundleError, match=message):
        backend_of(dataclasses.replace(entry, backend=entry.backend | change))


def test_a_changed_engine_file_never_reaches_a_runtime(
    colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = shutil.copytree(colours, tmp_path / "changed")
    model = changed / "models/fp32.onnx"
    model.write_bytes(model.read_bytes()[::-1])
    monkeypatch.setattr(OnnxRuntime, "open", lambda *_: pytest.fail("a runtime got a file that was changed"))
    with pytest.raises(BundleError, match=r"fp32.onnx: expected sha256"):
        Tagger.load(changed, "onnxruntime-fp32")


def test_another_way_to_make_images_ready_is_refused(colours: Path, tmp_path: Path) -> None:
    other = read_bundle(colours).preprocessing | {"resize": "nearest"}
    bundles.with_manifest(colours, tmp_path / "bundle", preprocessing=other)
    with pytest.raises(
        BundleError, match=r"preprocessing\.resize: expected 'plain, .*', got 'nearest'; use the tagger"
    ):
        Tagger.load(tmp_path / "bundle")
