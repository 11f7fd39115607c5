"""A user trains a model, corrects what it says, adds a label, and trains again."""

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlkd.core.files import sha256_of
from mlkd.core.progress import silent
from mlkd.data import Corrected
from mlkd.data.prepared import read_split
from pipeline.recipe.schema import load_recipe
from pipeline.runner import result
from tests.helpers import commands, drawings, layouts
from tests.helpers.once import Once
from tests.helpers.whole_run import facts

pytestmark = pytest.mark.slow
COUNT = 80
NEW = range(200, 230)
ENGINE = "export:\n  engines: [{name: onnxruntime-fp32, precision: fp32, backend: {kind: onnxruntime}}]\n"


def write_recipe(folder: Path) -> None:
    layouts.folder(folder / "photos", "tags", COUNT)
    drawn = drawings.write_recipe(folder, folder)
    _, scenes, rest = drawn.read_text().partition("data:")
    rest = rest[rest.index("views:") :]
    text = f"data: {{kind: folder, root: {folder / 'photos'}}}\n{rest}".replace("export:\n", ENGINE)
    assert scenes
    drawn.write_text(text)


def run(folder: Path, *words: str) -> str:
    code, log = commands.run(folder, *words)
    assert code == 0, log
    return log


def correct(folder: Path) -> None:
    """Tag the images, correct two thirds of the rows as a spreadsheet saves them, and add images with a new label."""
    tagged = [sys.executable, "dist/tiny/tagger.pyz", "tag", "--csv", "photos/images"]
    table = subprocess.run(tagged, cwd=folder, check=True, capture_output=True, text=True).stdout
    rows: list[dict[str, str]] = list(csv.DictReader(table.splitlines()))
    assert len(rows) == COUNT
    assert {row["verdict"] for row in rows} == {""}
    for row in rows:
        number = int(Path(row["image"]).stem)
        if number % 3 == 0:
            row |= {"tags": "; ".join(layouts.TAGS[label] for label in layouts.labels_of(number)), "verdict": "OK"}
        elif number % 3 == 1:
            row |= {"tags": "!owl", "verdict": "partial"}
    for number in NEW:
        layouts.draw(folder / f"new/{number}.png", number)
        tags = [layouts.TAGS[label] for label in layouts.labels_of(number)] + ["bee"] * (number % 2)
        rows.append({"image": f"new/{number}.png", "tags": ";".join(tags), "verdict": "ok"})
    with (folder / "corrected.csv").open("w", encoding="utf-8-sig", newline="") as stream:
        columns = ["verdict", "image", "tags", "note"]
        writer = csv.DictWriter(stream, columns, delimiter=";", extrasaction="ignore", restval="")
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture(scope="module")
def again(once: Once) -> Path:
    """The finished recipe tiny, and second, which continues it."""

    def make(folder: Path) -> None:
        write_recipe(folder)
        run(folder, "export", "--recipe", "tiny.yaml")
        correct(folder)
        words = ("init", "--from", "tiny.yaml", "--corrections", "corrected.csv", "second.yaml")
        code, log = commands.run(folder, *words)
        assert code == 2
        assert (
            "line 83 and 14 more: label: expected one of 3 known labels, got 'bee'; they are cat, owl, red dog. If it"
            in log
        )
        (folder / "said.txt").write_text(run(folder, *words, "--new-label", "bee"))
        run(folder, "bench", "--recipe", "second.yaml")

    return once("corrected run", make)


def test_init_says_what_the_corrections_change(again: Path) -> None:
    said = (again / "said.txt").read_text()
    assert "tiny.yaml: 4 labels in its order, 1 of them new; train 78, val 11, test 21" in said
    assert "30 new images; 26 rows without a verdict were not read." in said
    assert "wrote second.yaml and the judged rows in second.corrections1.csv; next: python -m pipeline plan" in said


def test_labels_keep_their_order_and_test_its_images(again: Path) -> None:
    for name in ("train", "select", "tune", "test"):
        old, new = (read_split(again / f"runs/{recipe}/data", name) for recipe in ("tiny", "second"))
        assert old.labels.names == layouts.TAGS
        assert new.labels.names == (*layouts.TAGS, "bee")
        if name == "test":
            assert new.files == old.files
    assert read_split(again / "runs/second/data", "train").label_mask is not None


def test_every_model_continues_from_the_finished_one(again: Path) -> None:
    for stage in ("teacher", "student"):
        done = result.read(again / "runs/second" / stage)
        assert done is not None
        assert done.identity["outside"] == {"weights_file": sha256_of(again / f"runs/tiny/{stage}/best.safetensors")}
    before = np.load(again / "runs/second/references/torch/before.npy")
    np.testing.assert_array_equal(before[:, :3], np.load(again / "runs/tiny/references/torch/student.npy"))
    assert np.isnan(before[:, 3]).all()


def test_a_second_round_continues_the_first(again: Path, tmp_path: Path) -> None:
    file = read_split(again / "runs/second/data", "train").files[0]
    table, recipe = tmp_path / "more.csv", tmp_path / "third.yaml"
    table.write_text(f"image,tags,verdict\n{file},bee;cat,ok\n")
    run(again, "init", "--from", "second.yaml", "--corrections", str(table), str(recipe))
    second, third = load_recipe(str(again / "second.yaml")), load_recipe(str(recipe))
    assert isinstance(third.data, Corrected)
    assert (third.data.base, third.data.new_labels) == (again / "runs/second/data", ())
    assert third.data.tables == (tmp_path / "third.corrections1.csv",)
    assert third.student.training == second.student.training
    listing = third.data.read(tmp_path, silent)
    assert listing.labels.names == (*layouts.TAGS, "bee")
    (changed,) = (sample for sample in listing.splits["train"] if sample.file == file)
    assert (changed.positives, changed.unknown) == ((0, 3), ())


def test_the_report_compares_before_and_after(again: Path) -> None:
    since: dict[str, Any] = facts(again / "dist/second/report.json")["continued"]
    assert [label["label"] for label in since["labels"]] == [*layouts.TAGS, "bee"]
    assert since["low"] <= since["difference"] <= since["high"]
    assert since["labels"][3]["before"] is None
    assert '<section id="corrections">' in (again / "dist/second/report.html").read_text(encoding="utf-8")
    manifest = json.loads((again / "dist/second/manifest.json").read_text(encoding="utf-8"))
    assert str(again) not in json.dumps(manifest["recipe_content"])
    assert manifest["labels"] == [*layouts.TAGS, "bee"]
