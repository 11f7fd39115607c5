"""What `init --from` refuses before it reads a table."""

from pathlib import Path
from typing import Any

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
