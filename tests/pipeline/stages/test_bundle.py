"""Golden images of the stage bundle."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

from mlkd.core.images import load
from mlkd.core.labels import Labels
from pipeline.stages import bundle
from tests.helpers import bundles, saturating

COLOURS = Labels(bundles.LABELS)


def recipe_of(image_px: int, golden_images: int) -> Any:
    model = SimpleNamespace(image_px=image_px)
    return SimpleNamespace(student=SimpleNamespace(model=model), export=SimpleNamespace(golden_images=golden_images))


def test_images_that_are_gone_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = tuple(tmp_path / f"{name}.jpg" for name in bundles.COLOURS)
    pixels = np.zeros((len(files), bundles.PX, bundles.PX, 3), np.uint8)
    monkeypatch.setattr(bundle, "read_split", lambda *_: _Split(files, pixels))
    bundles.write_onnx(tmp_path / "fp32.onnx")
    engine = {"name": "a", "precision": "fp32", "not_run": "no such device", "thresholds_of": "fp32.onnx"}
    engines, recipe = [{**engine, "thresholds": (0.5, 0.5, 0.5)}], recipe_of(bundles.PX, 2)
    expected = (
        rf"golden images: expected at least one readable image among the .* of tune, got none; the first is {files[0]}"
    )
    with pytest.raises(ValueError, match=expected):
        bundle.write_golden_images(recipe, COLOURS, tmp_path, tmp_path, engines, tmp_path / "golden")
    bundles.write_images(tmp_path)
    images, _ = bundle.write_golden_images(recipe, COLOURS, tmp_path, tmp_path, engines, tmp_path / "golden")
    assert len(images) == 2


@pytest.mark.parametrize("scored", ["int8.onnx", "sm86.plan"])
def test_an_int8_engine_has_the_scores_of_exact_arithmetic(
    scored: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever this processor's kernels make of them; a plan of TensorRT is computed as its graph."""
    side, count = saturating.PX, saturating.LABELS
    files = tuple(bundles.write_images(tmp_path).values())
    monkeypatch.setattr(bundle, "read_split", lambda *_: _Split(files, np.stack([load(file, side) for file in files])))
    graph = saturating.write_saturating_graph(tmp_path / "int8.onnx")
    engine = {"name": "a", "precision": "int8", "not_run": None, "thresholds_of": scored, "graph": graph.name}
    engines, labels = [{**engine, "thresholds": (0.5,) * count}], Labels(tuple(map(str, range(count))))
    _, file = bundle.write_golden_images(recipe_of(side, 4), labels, tmp_path, tmp_path, engines, tmp_path / "golden")
    with np.load(file) as arrays:
        pixels, scores = np.stack([arrays[f"pixels_{at}"] for at in range(4)]), arrays["scores:a"]
    expected = ReferenceEvaluator(str(graph)).run(None, {"images": pixels})[0]
    assert expected.shape == (4, count)
    np.testing.assert_allclose(scores, expected, atol=1e-5)


class _Split:
    def __init__(self, files: tuple[Path, ...], pixels: Any) -> None:
        self.files, self._pixels = files, pixels

    def __len__(self) -> int:
        return len(self.files)

    def pixels(self, _: int) -> Any:
        return self._pixels
