"""The tiny recipe with a search, and its prepared images."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import stages
from pipeline.recipe.schema import Recipe, load_recipe, read_recipe
from tests.helpers import drawings, race_track
from tests.helpers.once import Once

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
        return read_recipe(drawings.with_search(drawn, search), Path("tiny.yaml"))

    return read


@pytest.fixture
def track(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> race_track.Track:
    return race_track.set_up(tmp_path, monkeypatch)


@pytest.fixture
def load_in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Augment images in the test process; starting another one takes longer than these trainings."""
    for module in ("mlkd.models.feature_cache", "mlkd.teachers.record", "mlkd.training.batches"):
        monkeypatch.setattr(f"{module}.workers", lambda **_: 0)
