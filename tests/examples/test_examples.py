"""Every program in examples/ does what it says."""

import re
import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.bundle.bundle import read_bundle
from tests.helpers import bundles
from tests.helpers.once import Once

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def bundle(once: Once) -> Path:
    return bundles.shared_colours(once)


def run(name: str, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr("sys.argv", [name, *map(str, arguments)])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")


def test_a_folder_is_tagged(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    images = bundles.write_images(tmp_path)
    (tmp_path / "notes.txt").write_text("no image")
    run("tag_a_folder.py", monkeypatch, bundle, tmp_path)
    printed = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    assert printed[str(images["yellow"])] == "red 1.00, green 1.00"
    assert printed[str(images["blue"])] == "blue 1.00"
    assert printed[str(tmp_path / "notes.txt")].startswith("not read: ")
    assert len(printed) == len(images) + 1


def test_a_loss_of_the_user_lowers_itself(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run("add_a_loss.py", monkeypatch)
    first, last = (float(line.split()[-1]) for line in capsys.readouterr().out.splitlines())
    assert last < 0.1 * first


@pytest.mark.slow
def test_a_folder_becomes_a_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recipe is the one that `init` wrote, with the smallest model and one engine, as a user may edit it."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "mine"
    folder.mkdir()
    rows = ["file,tags"]
    for number in range(60):
        noise = np.random.default_rng(number).integers(0, 255, (18, 24, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{number}.png")
        rows.append(f"{number}.png,{'cat' if number % 3 else 'dog'}")
    (folder / "tags.csv").write_text("\n".join(rows), encoding="utf-8")
    train = runpy.run_path(str(EXAMPLES / "train_on_a_folder.py"))["run"]
    (folder / "tags.csv").rename(folder / "tags.txt")
    assert train(str(folder), "mine.yaml", "distill") == 2, "no table, no labels"
    (folder / "tags.txt").rename(folder / "tags.csv")
    runpy.run_path(str(EXAMPLES / "train_on_a_folder.py"))["main"](["init", str(folder), "--out", "mine.yaml"])
    Path("mine.yaml").write_text(_smallest(Path("mine.yaml").read_text()))
    assert train(str(folder), "mine.yaml", "export") == 0
    assert read_bundle(Path("dist/mine")).labels == ("cat", "dog")


def _smallest(recipe: str) -> str:
    engine = "engines: [{name: onnxruntime-fp32, precision: fp32, backend: {kind: onnxruntime}}]"
    for pattern, value in (
        (r"epochs: \d+", "epochs: 1"),
        (r"image_px: \d+", "image_px: 32"),
        (r"backbone: \w+", "backbone: test_resnet"),
        (r"kind: package, name: [\w-]+", "kind: random"),
        (r"views: {count: 4}", "views: {count: 2}"),
        (r"export:\n", f"export:\n  {engine}\n"),
    ):
        recipe, changed = re.subn(pattern, value, recipe)
        assert changed, pattern
    return recipe
