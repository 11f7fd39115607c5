"""Maps of a teacher that are recorded: stage maps, label maps and principal components."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mlkd.core.labels import Labels
from mlkd.data.augment import Views
from mlkd.data.prepared import read_split
from mlkd.losses import LabelMapKL, PcaMaps
from mlkd.models import checkpoint
from mlkd.teachers import CheckpointTeacher
from mlkd.teachers.cache import TeacherOutputs
from mlkd.teachers.projection import FILE, Projection, fit_or_read
from mlkd.teachers.record import record
from tests.helpers import taggers

VIEWS = Views(count=2)
LABELS = Labels(("red", "green", "blue"))
pytestmark = pytest.mark.usefixtures("load_in_process")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> CheckpointTeacher:
    return CheckpointTeacher(path=taggers.save(tmp_path_factory.mktemp("teacher"), LABELS))


def test_the_deepest_stage_maps_are_stored_for_losses_that_compare_them(
    teacher: CheckpointTeacher, prepared: Path, tmp_path: Path
) -> None:
    record([teacher], prepared, VIEWS, tmp_path, seed=0, maps=2)
    split = read_split(prepared, "train")
    rows = np.array([3, 0, 7])
    taught = TeacherOutputs.read(tmp_path, split).batch(rows, 1)
    pixels = split.pixels(32)
    images = torch.stack([VIEWS.apply(pixels[row], seed=0, row=int(row), view=1) for row in rows])
    with torch.no_grad():
        expected = checkpoint.load_model(teacher.folder)(images, features=True).features
    assert taught.features is not None
    assert len(taught.features) == 2
    for got, wanted in zip(taught.features, expected[-2:], strict=True):
        torch.testing.assert_close(got, wanted, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("ensemble", [False, True])
def test_label_maps_are_stored_for_losses_that_compare_them(
    teacher: CheckpointTeacher, prepared: Path, tmp_path: Path, ensemble: bool
) -> None:
    """Those of the first teacher, in the order of the labels of the data."""
    (tmp_path / "out").mkdir()
    other = CheckpointTeacher(path=taggers.save(tmp_path / "other", LABELS, seed=4))
    record([teacher, other][: 1 + ensemble], prepared, VIEWS, tmp_path / "out", seed=0, label_maps=True)
    split = read_split(prepared, "train")
    rows = np.array([3, 0, 7])
    stored = TeacherOutputs.read(tmp_path / "out", split)
    stored.require((LabelMapKL(),))
    pixels = split.pixels(32)
    images = torch.stack([VIEWS.apply(pixels[row], seed=0, row=int(row), view=1) for row in rows])
    with torch.no_grad():
        expected = checkpoint.load_model(teacher.folder)(images, label_maps=True).label_maps
    names = list(checkpoint.load_labels(teacher.folder).names)
    columns = [names.index(name) for name in split.labels.names]
    torch.testing.assert_close(stored.batch(rows, 1).label_maps, expected[:, columns], rtol=2e-3, atol=2e-3)


def test_the_last_stage_map_is_stored_as_its_principal_components(
    teacher: CheckpointTeacher, prepared: Path, tmp_path: Path
) -> None:
    """Those of all positions, computed again by a decomposition of the values themselves."""
    record([teacher], prepared, VIEWS, tmp_path, seed=0, components=5)
    split = read_split(prepared, "train")
    rows, pixels = np.arange(len(split)), split.pixels(32)
    stored = TeacherOutputs.read(tmp_path, split)
    stored.require((PcaMaps(channels=5),))
    with pytest.raises(ValueError, match="expected 6 principal components of the teacher, got 5"):
        stored.require((PcaMaps(channels=6),))
    for view in range(2):
        images = torch.stack([VIEWS.apply(pixels[row], seed=0, row=int(row), view=view) for row in rows])
        with torch.no_grad():
            maps = checkpoint.load_model(teacher.folder)(images, last_map=True).last_map.double()
        values = maps.permute(0, 2, 3, 1).flatten(0, 2).numpy()
        if view == 0:
            mean = values.mean(0)
            _, scale, directions = np.linalg.svd(values - mean, full_matrices=False)
        expected = (values - mean) @ directions[:5].T / scale[:5] * len(values) ** 0.5
        got = stored.batch(rows, view).last_map.permute(0, 2, 3, 1).flatten(0, 2).numpy()
        signs = np.sign((got * expected).sum(0))
        np.testing.assert_allclose(got * signs, expected, atol=2e-2)


def test_components_that_do_not_vary_are_left_out() -> None:
    plane = torch.randn(6, 2, 3, 4, generator=torch.Generator().manual_seed(0))
    maps = torch.cat([plane, plane.sum(1, keepdim=True), torch.ones(6, 1, 3, 4)], 1)
    projection = Projection.fit([maps[:2], maps[2:]], 9)
    values = projection(maps).permute(0, 2, 3, 1).flatten(0, 2)
    assert values.shape[1] == 2
    torch.testing.assert_close(values.mean(0), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(values.T @ values / len(values), torch.eye(2), atol=1e-4, rtol=0)


def test_stage_maps_that_are_too_large_are_left_out(
    teacher: CheckpointTeacher, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlkd.teachers.record.MAPS_BYTES", 1000)
    record([teacher], prepared, VIEWS, tmp_path, seed=0, maps=2)
    assert TeacherOutputs.read(tmp_path, read_split(prepared, "train")).maps == ()
    assert not list(tmp_path.glob("map*"))


def test_a_damaged_projection_is_fitted_again(tmp_path: Path) -> None:
    maps = [torch.randn(6, 4, 3, 3)]
    fitted = fit_or_read(tmp_path, lambda: maps, 2)
    whole = (tmp_path / FILE).read_bytes()
    for at in range(0, len(whole), 7):
        (tmp_path / FILE).write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        found = fit_or_read(tmp_path, lambda: maps, 2)
        assert fitted is not None
        assert found is not None
        torch.testing.assert_close(found.directions, fitted.directions)
        torch.testing.assert_close(found.mean, fitted.mean)
