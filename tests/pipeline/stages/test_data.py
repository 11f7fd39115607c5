"""The check of backbones, and the folder of features of frozen layers, which belong to the data of their images."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlkd.core.progress import silent
from mlkd.data import Folder
from pipeline.recipe.schema import load_recipe
from pipeline.runner.stage import Context, Pipeline, Stage
from pipeline.stages.data import features_folder, prepare_run, run
from tests.helpers import drawings


def features(runs: Path, recipe: str, images: str) -> Path:
    """The folder that a stage of the recipe gets, whose data are the images."""

    def run(context: Context) -> None:
        (context.out / "images").write_text(images)

    Pipeline((Stage(name="data", run=run, config={"images": images}),), runs / recipe).run()
    return features_folder(Context(runs / recipe / "student.partial", {"data": runs / recipe / "data"}, silent))


def store(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "0123.npy"
    file.write_text(text)
    (folder / "4567.partial").touch()
    return file


def test_features_that_another_recipe_has_of_the_same_data_are_linked(tmp_path: Path) -> None:
    own = features(tmp_path, "one", "cats")
    assert not own.exists()
    stored = store(own, "of cats")
    store(features(tmp_path, "other", "dogs"), "of dogs")
    linked = features(tmp_path, "two", "cats")
    assert [file.name for file in linked.iterdir()] == ["0123.npy"], "unfinished features are not linked"
    assert (linked / "0123.npy").samefile(stored)
    stored.unlink()
    assert (linked / "0123.npy").read_text() == "of cats"
    assert features(tmp_path, "two", "cats") == linked


def test_features_of_other_data_are_removed_from_the_own_recipe_alone(tmp_path: Path) -> None:
    cats = store(features(tmp_path, "one", "cats"), "of cats")
    features(tmp_path, "two", "cats")
    dogs = features(tmp_path, "two", "dogs")
    assert not dogs.exists()
    assert not list((tmp_path / "two/data.work").iterdir())
    assert cats.exists()


def test_without_links_features_are_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    store(features(tmp_path, "one", "cats"), "of cats")
    monkeypatch.setattr(Path, "hardlink_to", refuse)
    assert not list(features(tmp_path, "two", "cats").glob("*"))


def test_too_few_calibration_images_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    rng, rows = np.random.default_rng(0), ["file,tags"]
    for number in range(60):
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,{'abc'[number % 3]}")
    (tmp_path / "tags.csv").write_text("\n".join(rows))
    recipe = replace(load_recipe(str(drawings.write_recipe(tmp_path, tmp_path))), data=Folder(root=tmp_path))
    few = replace(recipe, export=replace(recipe.export, calibration_images=2))
    out = tmp_path / "data"
    out.mkdir()
    with pytest.raises(ValueError, match=r"^export\.calibration_images: expected at least 3, .*, got 2; raise it"):
        run(few, Context(out, {}, silent))
    run(recipe, Context(out, {}, silent))


def test_an_expansion_that_the_student_cannot_have_is_refused(tmp_path: Path) -> None:
    file = drawings.write_recipe(tmp_path, tmp_path)
    file.write_text(file.read_text().replace("image_px: 32", "image_px: 32, expansion: 0.5"))
    recipe = load_recipe(str(file))
    resnet = replace(recipe.student.model, backbone="test_resnet")
    with pytest.raises(ValueError, match=r"^student\.model\.expansion: expected a backbone with .*, got test_resnet,"):
        prepare_run(replace(recipe, student=replace(recipe.student, model=resnet)), silent)
    efficientnet = replace(recipe.student.model, backbone="test_efficientnet")
    prepare_run(replace(recipe, student=replace(recipe.student, model=efficientnet)), silent)


def test_stages_that_the_student_does_not_have_are_refused(tmp_path: Path) -> None:
    file = drawings.write_recipe(tmp_path, tmp_path)
    file.write_text(file.read_text().replace("image_px: 32", "image_px: 32, stages: 6"))
    recipe = load_recipe(str(file))
    assert recipe.student.model.stages == 6
    with pytest.raises(ValueError, match=r"^student\.model\.stages: expected one of 1, 2, 3, 4, 5, .*, got 6; correct"):
        prepare_run(recipe, silent)
