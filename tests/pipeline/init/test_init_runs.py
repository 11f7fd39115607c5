"""The recipe that `init` writes runs up to the bundle."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from export.bundle.bundle import read_bundle
from mlkd.data.prepared import read_split
from mlkd.models import checkpoint
from pipeline import stages
from pipeline.recipe.schema import Recipe, load_recipe
from tests.helpers.tagged_folder import draw, write_table

SMALLEST = {  # one epoch of the smallest model from random weights, and one engine
    r"epochs: \d+": "epochs: 1",
    r"image_px: \d+": "image_px: 32",
    r"backbone: \w+": "backbone: test_resnet",
    r"kind: package, name: [\w-]+": "kind: random",
    r"views: {count: 4}": "views: {count: 2}",
    r"export:\n": "export:\n  engines: [{name: onnxruntime-fp32, precision: fp32, backend: {kind: onnxruntime}}]\n",
}


@pytest.fixture
def recipe(tmp_path: Path, init: Any) -> Recipe:
    """Of images with a defect or none; ten have it."""
    draw(tmp_path / "parts", 40)
    rows = [(f"{number}.png", "" if number % 4 else "defect") for number in range(40)]
    write_table(tmp_path / "parts/tags.csv", rows)
    init.accept(tmp_path / "parts")
    text = Path("parts.yaml").read_text()
    for pattern, value in SMALLEST.items():
        text, changed = re.subn(pattern, value, text)
        assert changed, pattern
    Path("parts.yaml").write_text(text)
    return load_recipe("./parts.yaml")


def test_a_recipe_of_a_single_label_distils(recipe: Recipe) -> None:
    stages.pipeline(recipe, Path("runs")).until("student").run()
    assert checkpoint.load_labels(Path("runs/student")).names == ("defect",)
    for half in ("select", "tune"):
        assert read_split(Path("runs/data"), half).targets.any()


@pytest.mark.slow
def test_a_recipe_of_a_single_label_exports(recipe: Recipe) -> None:
    stages.pipeline(recipe, Path("runs")).until("bundle").run()  # references compile for minutes
    manifest = read_bundle(Path("runs/bundle/bundle"))
    assert manifest.labels == ("defect",)
    assert [engine.name for engine in manifest.engines] == ["onnxruntime-fp32"]
    assert manifest.engines[0].tune_map is not None
