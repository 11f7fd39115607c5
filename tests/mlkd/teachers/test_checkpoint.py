from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mlkd import checkpoint, evaluate
from mlkd.data.prepared import read_split
from mlkd.labels import Labels
from mlkd.teachers import CheckpointTeacher, load, scores
from tests import taggers

LABELS = Labels(("red", "green", "blue"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return taggers.save(tmp_path_factory.mktemp("net"), LABELS)


@pytest.mark.parametrize("name", ["", checkpoint.BEST])
def test_the_folder_or_the_file_in_it(folder: Path, name: str) -> None:
    source = CheckpointTeacher(path=folder / name)
    assert (source.image_px, source.files()) == (32, (folder / checkpoint.BEST,))
    teacher = source.load(LABELS)
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8))
    with torch.no_grad():
        got, expected = teacher({32: images, 24: images[:, :24, :24]}), checkpoint.load_model(folder)(images)
    for what in ("logits", "embeddings", "pooled"):
        torch.testing.assert_close(getattr(got, what), getattr(expected, what))


def test_scores_of_a_split_are_those_of_evaluation(folder: Path, prepared: Path) -> None:
    test = read_split(prepared, "test")
    expected = evaluate.scores(checkpoint.load_model(folder), test.pixels(32))
    np.testing.assert_allclose(scores(load([CheckpointTeacher(path=folder)], LABELS), test, 3), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("red", "blue", "green"), "the same in another order, 'green' in column 1 where the data has 'blue'; choose"),
        (("red", "green", "teal"), "got 3: without teal, with blue besides; choose a teacher of exactly these labels"),
        (("red", "green"), "expected the 2 labels of the data in their order, got 3: with blue besides"),
        (("red", "green", "blue", *"abcdefg"), "without a, b, c, d, e and 2 more"),
    ],
)
def test_other_labels_are_refused(folder: Path, names: tuple[str, ...], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        CheckpointTeacher(path=folder).load(Labels(names))


def test_nothing_there_is_said_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"checkpoint: expected the file .*best\.safetensors, got nothing there"):
        _ = CheckpointTeacher(path=tmp_path).image_px
