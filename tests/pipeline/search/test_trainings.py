"""What is kept of a training, and what of it is damaged."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mlkd.models import checkpoint
from mlkd.training.config import Training
from pipeline.recipe.schema import Recipe
from pipeline.runner import result
from pipeline.search import race_stages
from pipeline.search.trainings import (
    Rung,
    continue_in,
    keep_needed,
    read_rung,
    remove_damaged,
    seconds_until,
    write_rung,
)
from tests.pipeline.search.conftest import Read

TRAINING = Training(epochs=5, learning_rate=1e-3)  # rungs of 1, 2 and 4 epochs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of a training that was interrupted after two rungs."""
    made = tmp_path / "race.work" / "some"
    made.mkdir(parents=True)
    for epochs in (1, 2):
        write_rung(made, epochs, Rung(scores=np.full((2, 3), epochs, np.float32), seconds=10.0 * epochs))
    checkpoint.write(made / checkpoint.LAST, {}, {"best_epoch": 2})
    checkpoint.write(made / checkpoint.BEST, {}, {"epoch": 2})
    (made / "seconds.txt").write_text("5.5")
    (made / "claim.lock").touch()
    return made


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"claim.lock"}


def test_seconds_of_the_rungs_that_a_race_has_come_to(folder: Path) -> None:
    assert [seconds_until(folder, TRAINING, last) for last in (1, 2, 4)] == [10.0, 30.0, 35.5]
    assert read_rung(folder, 2).scores.tolist() == [[2.0] * 3] * 2


def test_a_whole_training_is_left_as_it_is(folder: Path, tmp_path: Path) -> None:
    before = names(folder)
    remove_damaged(folder, TRAINING)
    assert names(folder) == before
    (folder / checkpoint.BEST).unlink()
    checkpoint.write(folder / checkpoint.LAST, {}, {"best_epoch": 0})
    remove_damaged(folder, TRAINING)
    assert (folder / checkpoint.LAST).is_file(), "the first epoch has not ended"
    remove_damaged(tmp_path / "none", TRAINING)


@pytest.mark.parametrize("damaged", ["select.1.npz", "select.2.npz"])
def test_with_damaged_scores_a_training_starts_again(folder: Path, damaged: str) -> None:
    (folder / damaged).write_bytes((folder / damaged).read_bytes()[:-1])
    remove_damaged(folder, TRAINING)
    assert names(folder) == set()


def test_a_rung_may_lack_its_scores_only_if_it_is_the_last(folder: Path) -> None:
    (folder / "select.2.npz").unlink()
    remove_damaged(folder, TRAINING)
    assert (folder / checkpoint.LAST).is_file(), "its training may have ended just before a kill"
    write_rung(folder, 4, read_rung(folder, 1))
    remove_damaged(folder, TRAINING)
    assert names(folder) == set()


@pytest.mark.parametrize("damaged", [checkpoint.BEST, checkpoint.LAST])
def test_damaged_checkpoints_are_removed_and_the_scores_stay(folder: Path, damaged: str) -> None:
    (folder / damaged).write_bytes((folder / damaged).read_bytes()[:-1])
    remove_damaged(folder, TRAINING)
    assert names(folder) == {"select.1.npz", "select.2.npz"}


def test_checkpoints_of_earlier_races_are_removed(folder: Path) -> None:
    left = folder / "best.safetensors.1.2.partial"
    left.touch()
    keep_needed([folder], folder.parent)
    assert names(folder) >= {checkpoint.BEST, checkpoint.LAST, "seconds.txt"}
    assert not left.exists()
    keep_needed([], folder.parent)
    assert names(folder) == {"select.1.npz", "select.2.npz"}, "it is not in the race"


@pytest.mark.parametrize("damaged", [None, checkpoint.BEST, checkpoint.LAST])
def test_a_stage_continues_from_whole_checkpoints_only(folder: Path, tmp_path: Path, damaged: str | None) -> None:
    (folder / "history.json").write_text("[]")
    if damaged:
        (folder / damaged).write_bytes((folder / damaged).read_bytes()[:-1])
    continue_in(tmp_path, folder, TRAINING)
    copied = {path.name for path in tmp_path.iterdir()} - {"race.work"}
    whole = {checkpoint.BEST, checkpoint.LAST, "history.json", "seconds.txt"}
    assert copied == (set() if damaged else whole)
    assert damaged or (tmp_path / "seconds.txt").read_text() == "35.5"


@pytest.fixture
def folders(place: Path, drawn: Path, read: Read) -> "Folders":
    return Folders(place / "runs/tiny.search", read)


class Folders:
    """Names of the trainings of a recipe with prepared images, and teacher outputs that we make up."""

    def __init__(self, folder: Path, read: Read) -> None:
        self.folder, self.read = folder, read
        (folder.parent / "tiny").rename(folder)
        self.record("outputs")

    def record(self, outputs: str) -> None:
        partial = self.folder / "teacher_outputs.partial"
        result.begin(partial, {})
        (partial / "outputs").write_text(outputs)
        result.finish(partial, self.folder / "teacher_outputs", seconds=1.0, volatile=())

    def of(self, recipe: Recipe) -> dict[str, str]:
        found = race_stages.training_folders(recipe, race_stages.candidates_of(recipe), self.folder)
        return {name: folder.name for name, folder in found.items()}


def test_a_training_is_the_same_until_something_changes_that_it_depends_on(
    folders: Folders, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    students = "backbone: test_resnet, image_px: 32, head: {kind: pooled}"
    recipe = folders.read(f"max_p90_ms: 1, students: {{{students}}}")
    (name, known) = next(iter(folders.of(recipe).items()))
    assert known.startswith("test_resnet.")
    larger = folders.read(f"max_mb: 2, minutes: 7, students: {{{students.replace('32', '[32, 48]')}}}")
    both = folders.of(larger)
    assert both[name] == known, "the grid, the budget and the minutes are no part of it"
    assert len(set(both.values())) == 2
    training = recipe.student.training
    others = [
        replace(recipe, seed=1),
        replace(recipe, student=replace(recipe.student, training=replace(training, learning_rate=1e-4))),
    ]
    seen = {known, *(folders.of(other)[name] for other in others)}
    monkeypatch.setattr("pipeline.runner.stage.package_version", lambda package: f"{package} 9")
    seen.add(folders.of(recipe)[name])
    monkeypatch.undo()
    file = tmp_path / "weights.safetensors"
    with_file = folders.read(f"max_mb: 1, students: {{{students}, weights: {{kind: file, path: {file}}}}}")
    for content in ("one", "another"):
        file.write_text(content)
        seen.add(folders.of(with_file)[name])
    folders.record("other outputs")
    seen.add(folders.of(recipe)[name])
    assert len(seen) == 7
