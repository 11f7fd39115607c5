from pathlib import Path

import numpy as np
import pytest
import torch

from mlkd.core.labels import Labels
from mlkd.data.prepared import read_split
from mlkd.models import checkpoint
from mlkd.teachers import CheckpointTeacher, load, scores
from mlkd.training import evaluate
from tests.helpers import taggers

LABELS = Labels(("red", "green", "blue"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return taggers.save(tmp_path_factory.mktemp("net"), LABELS)


@pytest.mark.parametrize("name", ["", checkpoint.BEST])
def test_the_path_is_a_folder_or_its_file(folder: Path, name: str) -> None:
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
    np.testing.assert_allclose(scores(load([CheckpointTeacher(path=folder)], LABELS), test), expected, atol=1e-6)


@pytest.mark.parametrize("wanted", [("red", "blue", "green"), ("blue", "red"), ("green",)])
def test_columns_are_taken_by_name(folder: Path, wanted: tuple[str, ...]) -> None:
    images = {32: torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8))}
    columns = [LABELS.names.index(name) for name in wanted]
    with torch.no_grad():
        got, whole = (CheckpointTeacher(path=folder).load(labels)(images) for labels in (Labels(wanted), LABELS))
    assert got.embeddings is not None
    assert whole.embeddings is not None
    torch.testing.assert_close(got.logits, whole.logits[:, columns], rtol=0, atol=0)
    torch.testing.assert_close(got.embeddings, whole.embeddings[:, columns], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("red", "green", "teal"), r"by name, got 3 \(red, green, blue\), without teal; correct the names, or choose"),
        (("red", "green", "blue", *"abcdefg"), "without a, b, c, d, e and 2 more"),
    ],
)
def test_unknown_labels_are_refused(folder: Path, names: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CheckpointTeacher(path=folder).load(Labels(names))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"checkpoint: expected the file .*best\.safetensors, got none"):
        _ = CheckpointTeacher(path=tmp_path).image_px
