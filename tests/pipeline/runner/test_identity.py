from dataclasses import replace
from pathlib import Path

import pytest

from mlkd.losses import ClassAware
from mlkd.models.weights import FileWeights
from pipeline import stages
from pipeline.declarations.export import BUNDLED
from pipeline.recipe.schema import load_recipe
from pipeline.runner import stage
from pipeline.runner.identity import package_version, plain
from tests.helpers import drawings


def test_fields_that_change_no_result_are_no_part_of_it() -> None:
    training = load_recipe("scenes").student.training
    assert plain(replace(training, trackers=(), save_steps=3)) == plain(training)
    assert plain(replace(training, epochs=5)) != plain(training)


def test_a_field_that_came_later_counts_away_from_its_default() -> None:
    assert "memory" not in plain(ClassAware())
    assert plain(ClassAware(memory=4))["memory"] == 4


def test_the_content_of_a_weights_file_counts_and_its_place_does_not(tmp_path: Path) -> None:
    recipe = load_recipe(str(drawings.write_recipe(tmp_path, tmp_path)))
    seen = []
    for place, content in (("a.pth", b"first"), ("b.pth", b"first"), ("a.pth", b"second")):
        file = tmp_path / place
        file.write_bytes(content)
        model = replace(recipe.student.model, weights=FileWeights(path=file))
        assert recipe.teacher is not None
        changed = replace(
            recipe, teacher=replace(recipe.teacher, model=model), student=replace(recipe.student, model=model)
        )
        line = stages.pipeline(changed, tmp_path / "runs").stages
        seen.append(
            {
                one.name: (plain(one.config), one.outside())
                for one in line
                if one.name in ("teacher", "student", "baseline")
            }
        )
    assert len(seen[0]) == 3
    for name in seen[0]:
        assert seen[0][name] == seen[1][name] != seen[2][name], name


def test_a_bundle_is_made_again_for_every_version_that_it_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load_recipe(str(drawings.write_recipe(tmp_path, tmp_path)))
    line = stages.pipeline(recipe, tmp_path / "runs")
    (declared,) = (one for one in line.stages if one.name == "bundle")
    contents = dict.fromkeys(declared.reads, "equal")
    before = line._identity(declared, contents)
    for package in BUNDLED:
        other = lambda name, updated=package: "another" if name == updated else package_version(name)  # noqa: E731
        with monkeypatch.context() as patched:
            patched.setattr(stage, "package_version", other)
            assert line._identity(declared, contents) != before, package


def test_published_content_keeps_what_changes_a_result_and_no_path() -> None:
    weights = FileWeights(path=Path("/home/someone/private/net.safetensors"))
    told = plain({"weights": weights, "sizes": (64, 96), "none": None}, published=True)
    assert told == {"weights": {"kind": "file", "mean": None, "std": None}, "sizes": [64, 96], "none": None}
    recipe = load_recipe("scenes")
    changed = replace(recipe.student, training=replace(recipe.student.training, trackers=(), save_steps=3))
    content = plain(recipe, published=True)
    assert plain(replace(recipe, student=changed), published=True) == content
    assert content["student"]["training"]["learning_rate"] == recipe.student.training.learning_rate
