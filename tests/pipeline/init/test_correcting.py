"""The recipe that `init --from` writes, and what it refuses before it reads a table."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlkd.core.labels import Labels
from mlkd.data import Corrected
from mlkd.models import checkpoint
from mlkd.models.weights import TrainedWeights
from pipeline.init.correcting import Request, recipe_text
from pipeline.recipe.schema import load_recipe, read_recipe
from tests.helpers import drawings


def test_the_recipe_has_to_be_finished(tmp_path: Path, init: Any) -> None:
    drawings.write_recipe(tmp_path, tmp_path)
    said = init.refuse(Path("new.yaml"), "--from", "tiny.yaml")
    assert f"from: expected a finished recipe, got no stage data in {tmp_path}/runs/tiny; run distill with tiny" in said
    assert "recipe: expected a YAML file, got nothing at" in init.refuse(Path("new.yaml"), "--from", "other.yaml")
    assert not Path("new.yaml").exists()


def test_options_that_do_not_belong_together(tmp_path: Path, init: Any) -> None:
    drawings.write_recipe(tmp_path, tmp_path)
    refused = init.refuse(Path("new.yaml"), "--from", "tiny.yaml", "--separator", "|", "--out", "b.yaml")
    assert "from: expected only the recipe to write and options of corrections, got --separator, --out" in refused
    assert "corrections: expected --from with the finished recipe" in init.refuse(tmp_path, "--corrections", "a.csv")


def test_only_recipes_of_init_are_replaced(tmp_path: Path, init: Any) -> None:
    drawings.write_recipe(tmp_path, tmp_path)
    assert "expected a new file, got tiny.yaml, which exists" in init.refuse(Path("tiny.yaml"), "--from", "tiny.yaml")
    refused = init.refuse(Path("tiny.yaml"), "--from", "tiny.yaml", "--force")
    assert "expected a recipe that this command wrote" in refused


@pytest.mark.parametrize("rounds", [1, 2])
def test_models_continue_with_few_epochs_and_a_low_rate(tmp_path: Path, rounds: int) -> None:
    file = drawings.write_recipe(tmp_path, tmp_path)
    text = file.read_text().replace("epochs: 2", "save_steps: 9").replace("baseline: ", "baseline_: ")
    search = "search: {max_mb: 1, students: {stages: [3, 4]}}\n"
    file.write_text("\n".join(line for line in f"epochs: 9\n{search}{text}".splitlines() if "baseline_" not in line))
    for _ in range(rounds):
        recipe = load_recipe(str(file))
        found = replace(recipe.student.model, stages=3)  # of the search
        for name, model in (("teacher", recipe.teacher.model), ("student", found)):
            (tmp_path / name).mkdir(exist_ok=True)
            tensors = model.build(3, pretrained=False).state_dict()
            checkpoint.save_model(tmp_path / name / checkpoint.BEST, tensors, model, Labels(("a", "b", "c")), {})
        source = Corrected(base=tmp_path / "data", tables=(Path("a.csv"),), new_labels=("bee",))
        written = recipe_text(recipe, Request(recipe=str(file)), source, tmp_path)
        file = tmp_path / f"{file.stem}2.yaml"
        file.write_text(written)
    again = read_recipe(written, file)
    assert again.data == replace(source, tables=(Path("a.csv").absolute(),))
    assert again.search is None
    assert again.student.model.stages == 3
    for trained in (again.teacher, again.student):
        assert isinstance(trained.model.weights, TrainedWeights)
        assert trained.model.weights.first == "test_resnet, from random weights"
        assert (trained.training.epochs, trained.training.learning_rate) == (3, 9e-4)
        assert trained.training.batch_size == 16
    assert (again.baseline.epochs, again.baseline.learning_rate) == (3, 9e-4)
