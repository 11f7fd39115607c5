"""The tiny recipe, its prepared images, and models with random weights in place of trained ones."""

from functools import partial
from pathlib import Path

import pytest

from mlkd.core.labels import Labels
from pipeline import stages
from pipeline.recipe.schema import Recipe, load_recipe
from tests.helpers import drawings, taggers
from tests.helpers.once import Once


@pytest.fixture(scope="session")
def recipe(drawn: Path, once: Once) -> Recipe:
    return load_recipe(str(once("recipe", partial(drawings.write_recipe, drawn)) / "tiny.yaml"))


@pytest.fixture(scope="session")
def runs(recipe: Recipe, once: Once) -> Path:
    """The results of the stages data, teacher, student and baseline."""

    def run(folder: Path) -> None:
        stages.pipeline(recipe, folder).until("data").run()
        for seed, (model, px) in enumerate({"teacher": 48, "baseline": 32, "student": 32}.items()):
            taggers.save(folder / model, Labels(tuple(sorted(drawings.COLOURS))), seed=seed, image_px=px, bias=0.0)

    return once("runs", run)
