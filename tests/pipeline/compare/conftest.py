"""A comparison whose teacher is a checkpoint with random weights: only students are trained."""

from pathlib import Path

import pytest

from mlkd.core.labels import Labels
from pipeline.compare import runs
from pipeline.recipe.schema import Recipe, load_recipe
from tests.helpers import drawings, taggers
from tests.helpers.once import Once

PROTOCOL = """
extends: base.yaml
data: {{train: 32, val: 24, test: 16}}
teacher: null
ready_teachers: [{{kind: checkpoint, path: {teacher}}}]
student: {{training: {{losses: [{{kind: bce}}, {{kind: label_map_kl}}, {{kind: pca_maps, channels: 4}}]}}}}
compare:
  seeds: 2
  wider: {{none: [], mld: [], mld_maps: []}}
  epochs: 2
  methods:
    - {{name: none, rates: [0.5, 1]}}
    - {{name: none_long, base: none, length: 1.5, seeds: 1}}
    - {{name: mld, scaled: [{{kind: label_kl}}], shares: [0.5, 1, 100]}}
    - {{name: mld_maps, base: mld, scaled: [{{kind: label_map_kl}}, {{kind: pca_maps, channels: 4}}], shares: [0.5, 2]}}
"""


@pytest.fixture(scope="session")
def recipe_file(drawn: Path, once: Once) -> Path:
    def write(folder: Path) -> None:
        drawings.write_recipe(drawn, folder, "base")
        teacher = taggers.save(folder / "teacher", Labels(tuple(sorted(drawings.COLOURS))), seed=9)
        (folder / "tiny.yaml").write_text(PROTOCOL.format(teacher=teacher))

    return once("protocol", write) / "tiny.yaml"


@pytest.fixture(scope="session")
def recipe(recipe_file: Path) -> Recipe:
    return load_recipe(str(recipe_file))


@pytest.fixture(scope="session")
def taught(recipe: Recipe, once: Once) -> Path:
    """Results of the stages before the comparison, to be copied."""
    return once("taught", lambda folder: runs.pipeline(recipe, folder).until("teacher_outputs").run())
