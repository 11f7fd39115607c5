"""The recipe that `init` writes goes all the way to a bundle."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.bundle.bundle import read_bundle
from mlkd.data import read_split
from pipeline import stages
from pipeline.__main__ import main
from pipeline.recipe.schema import load_recipe


def made_small(recipe: Path) -> None:
    """One epoch of the smallest net from random weights, and one engine."""
    text = recipe.read_text()
    for pattern, value in (
        (r"epochs: \d+", "epochs: 1"),
        (r"image_px: \d+", "image_px: 32"),
        (r"backbone: \w+", "backbone: test_resnet"),
        (r"kind: package, name: [\w-]+", "kind: random"),
        (r"views: {count: 4}", "views: {count: 2}"),
        (
            r"export:\n",
            "export:\n  engines: [{name: onnxruntime-fp32, precision: fp32, backend: {kind: onnxruntime}}]\n",
        ),
    ):
        text, changed = re.subn(pattern, value, text)
        assert changed, pattern
    recipe.write_text(text)


def test_the_recipe_of_a_single_label_distils_and_exports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Defect or not; ten images have it."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "my pets"
    folder.mkdir()
    rows = [(f"{number}.png", "defect" if number % 4 == 0 else "") for number in range(40)]
    for number, (name, _) in enumerate(rows):
        noise = np.random.default_rng(number).integers(0, 255, (18, 24, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / name)
    (folder / "tags.csv").write_text("\n".join(["file,tags", *(",".join(row) for row in rows)]), encoding="utf-8")
    assert main(["init", str(folder)]) == 0
    made_small(Path("my-pets.yaml"))
    assert main(["distill", "--recipe", "my-pets.yaml"]) == 0, capsys.readouterr().err
    runs = Path("runs/my-pets")
    stages.pipeline(load_recipe("./my-pets.yaml"), runs).until("bundle").run()  # references take minutes to compile
    manifest = read_bundle(runs / "bundle/bundle")
    assert manifest.labels == ("defect",)
    assert [engine.name for engine in manifest.engines] == ["onnxruntime-fp32"]
    assert manifest.engines[0].tune_map is not None
    for half in ("select", "tune"):
        assert read_split(Path("runs/my-pets/data"), half).targets.any()
