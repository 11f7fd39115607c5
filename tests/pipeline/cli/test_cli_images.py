"""Images as users have them: some cannot be read, some are odd, some tags are unknown."""

import csv
import json
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlkd.data.prepared import read_split
from pipeline import stages
from pipeline.__main__ import main
from pipeline.recipe.find import RECIPES
from pipeline.recipe.schema import load_recipe
from tests.helpers import drawings

PX = 32


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """images/ with tags.csv, and tiny.yaml that reads it."""
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "images"
    root.mkdir()
    rng = np.random.default_rng(0)
    rows = []
    for number in range(24):
        split = ("train", "train", "val", "test")[number % 4]
        Image.fromarray(rng.integers(0, 255, (40, 50, 3), dtype=np.uint8)).save(root / f"{number}.png")
        rows.append((f"{number}.png", ("cat", "cat;dog", "dog")[number % 3], split))
    write_tags(root, rows)
    recipe = drawings.write_recipe(tmp_path, tmp_path)
    text = recipe.read_text()
    end = text.index("views:")
    recipe.write_text("data: {kind: folder, root: images}\n" + text[end:].replace("image_px: 48", f"image_px: {PX}"))
    return root


def write_tags(root: Path, rows: list[tuple[str, str, str]], mode: str = "w") -> None:
    with (root / "tags.csv").open(mode, newline="") as stream:
        csv.writer(stream).writerows([("file", "tags", "split"), *rows] if mode == "w" else rows)


def prepared(tmp_path: Path) -> Path:
    stages.pipeline(load_recipe("tiny.yaml"), tmp_path / "runs/tiny").until("data").run()
    return tmp_path / "runs/tiny/data"


def test_an_unknown_tag_is_named_with_its_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = Path("tiny.yaml")
    recipe.write_text(recipe.read_text().replace("root: images", "root: images, labels: [cat, dogs]"))
    assert main(["distill", "--recipe", "tiny.yaml"]) == 2
    told = capsys.readouterr().err
    assert "Traceback" not in told
    assert (
        f"stage data: {folder}/tags.csv, line 3: label: expected one of 2 known labels, got 'dog'; did you mean dogs"
        in told
    )
    assert told.splitlines()[-1].startswith("next: ")


def test_unreadable_images_are_left_out_and_named(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = (folder / "0.png").read_bytes()
    (folder / "0.png").write_bytes(whole[: len(whole) // 2])
    (folder / "1.png").write_text("not an image")
    (folder / "4.png").unlink()
    with caplog.at_level(logging.WARNING, "pipeline"):
        data = prepared(tmp_path)
    skipped = json.loads((data / "skipped.json").read_text())
    assert skipped.keys() == {"0.png", "1.png", "4.png"}
    assert "data: 3 left out, all named in skipped.json" in caplog.text
    assert len(read_split(data, "train")) == 12 - 3


@pytest.mark.parametrize("name", sorted(file.stem for file in RECIPES.glob("*.yaml")))
def test_shipped_recipes_are_valid(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name, None if name.startswith("scenes") else tmp_path)
    assert recipe.name == name
    assert recipe.student.model.image_px <= recipe.teacher.model.image_px
    assert all(decision.seconds and decision.bytes for decision in stages.pipeline(recipe, tmp_path).plan())
    assert recipe.student.training.epochs == recipe.baseline.epochs
