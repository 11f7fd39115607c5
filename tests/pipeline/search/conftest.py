"""The tiny recipe with a search, and its prepared images."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import stages
from pipeline.recipe.schema import Recipe, load_recipe, read_recipe
from tests.helpers import drawings
from tests.helpers.once import Once

ENGINE = """
  engines: [{name: onnxruntime-int8, precision: int8_x86, backend: {kind: onnxruntime}}]
"""
Read = Callable[[str], Recipe]


@pytest.fixture(scope="session")
def prepared(drawn: Path, once: Once) -> Path:
    """Where the stage data has run."""

    def run(folder: Path) -> None:
        recipe = load_recipe(str(drawings.write_recipe(drawn, folder)))
        stages.pipeline(recipe, folder / "runs/tiny").until("data").run()

    return once("prepared", run)


@pytest.fixture
def place(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the prepared images."""
    work = Path(shutil.copytree(prepared, tmp_path / "place"))
    monkeypatch.chdir(work)
    return work


@pytest.fixture
def read(drawn: Path) -> Read:
    """Reads the tiny recipe, with one engine, and this section `search`."""

    def read(search: str) -> Recipe:
        return read_recipe(with_search(drawn, search), Path("tiny.yaml"))

    return read


def with_search(drawn: Path, search: str) -> str:
    text = drawings.RECIPE.format(folder=drawn).replace("export:\n", f"export:{ENGINE}")
    return f"{text}\nsearch: {{{search}}}\n"
