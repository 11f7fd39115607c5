import json
import math
import resource
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mlkd.core.labels import Labels
from mlkd.data.augment import Views
from mlkd.data.prepared import read_split
from mlkd.losses import Bce, ClassAware, LabelKL, LabelMapKL, PcaMaps
from mlkd.losses.rkd import Rkd
from mlkd.models import checkpoint
from mlkd.models.outputs import Outputs
from mlkd.teachers import CheckpointTeacher
from mlkd.teachers.cache import TeacherOutputs
from mlkd.teachers.record import record
from tests.helpers import taggers

VIEWS = Views(count=2)
LABELS = Labels(("red", "green", "blue"))
pytestmark = pytest.mark.usefixtures("load_in_process")
RAW = ("logits.raw", "positive.raw", "embeddings.raw", "pooled.raw")


@pytest.fixture(scope="module")
def teacher(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> CheckpointTeacher:
    """Its logits spread around that of a score of 0.8, so that some images count as positive and some do not."""
    folder = taggers.save(tmp_path_factory.mktemp("teacher"), LABELS)
    tensors, facts = checkpoint.read(folder / checkpoint.BEST)
    with torch.no_grad():
        pixels = torch.from_numpy(read_split(prepared, "train").pixels(32).copy())
        logits = checkpoint.load_model(folder)(pixels).logits
    share = 1 / logits.std(0)
    tensors["head.label_weight"] *= share[:, None]
    tensors["head.label_bias"] = math.log(4) - share * (logits.mean(0) - tensors["head.label_bias"])
    checkpoint.write(folder / checkpoint.BEST, tensors, facts)
    return CheckpointTeacher(path=folder)


@pytest.fixture(scope="module")
def outputs(teacher: CheckpointTeacher, prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("outputs")
    record([teacher], prepared, VIEWS, out, seed=0)
    return out


@pytest.fixture(scope="module")
def partly_known(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every third image of train has no labels, every fourth one lacks a decision."""
    folder = shutil.copytree(prepared, tmp_path_factory.mktemp("partly") / "prepared")
    targets = np.load(folder / "train.targets.npy")
    label_mask = np.ones(targets.shape, bool)
    label_mask[::3] = False
    label_mask[1::4, 1] = False
    np.save(folder / "train.targets.npy", targets * label_mask)
    np.save(folder / "train.known.npy", label_mask)
    return folder


def expected_outputs(teacher: CheckpointTeacher, data: Path, view: int) -> Outputs:
    """The model's outputs for one view of all training images."""
    pixels = read_split(data, "train").pixels(32)
    images = [VIEWS.apply(image, seed=0, row=row, view=view) for row, image in enumerate(pixels)]
    with torch.no_grad():
        outputs: Outputs = checkpoint.load_model(teacher.folder)(torch.stack(images))
    return outputs


def test_outputs_are_those_of_the_teacher(teacher: CheckpointTeacher, prepared: Path, outputs: Path) -> None:
    split = read_split(prepared, "train")
    stored = TeacherOutputs.read(outputs, split)
    chosen = np.array([20, 3, 11])
    for view in range(2):
        expected = expected_outputs(teacher, prepared, view)
        got = stored.batch(chosen, view)
        assert expected.embeddings is not None
        assert got.embeddings is not None
        close = {"atol": 5e-3, "rtol": 2e-3}  # stored as float16
        torch.testing.assert_close(got.logits, expected.logits[chosen], **close)
        torch.testing.assert_close(got.pooled, expected.pooled[chosen], **close)  # type: ignore[index]
        positive = torch.from_numpy(split.targets[chosen]).bool()
        torch.testing.assert_close(got.embeddings[positive], expected.embeddings[chosen][positive], **close)
        assert not got.embeddings[~positive].any()


def test_unknown_decisions_have_embeddings_where_the_teacher_is_confident(
    teacher: CheckpointTeacher, partly_known: Path, tmp_path: Path
) -> None:
    record([teacher], partly_known, VIEWS, tmp_path, seed=0)
    split = read_split(partly_known, "train")
    assert split.label_mask is not None
    stored, everyone = TeacherOutputs.read(tmp_path, split), np.arange(len(split))
    sure = []
    for view in range(2):
        expected, got = expected_outputs(teacher, partly_known, view), stored.batch(everyone, view)
        assert expected.embeddings is not None
        assert got.embeddings is not None
        wanted = np.zeros_like(split.label_mask)
        for row, label in np.ndindex(*wanted.shape):
            score = 1 / (1 + math.exp(-float(got.logits[row, label])))
            wanted[row, label] = split.targets[row, label] if split.label_mask[row, label] else score >= 0.8
        torch.testing.assert_close(got.embeddings[wanted], expected.embeddings[wanted], atol=5e-3, rtol=2e-3)
        assert not got.embeddings[~wanted].any()
        sure.append(wanted & ~split.label_mask)
    assert sure[0].any()
    assert (sure[0] != sure[1]).any(), "which ones differs between views"
    assert not all(mask[0].all() for mask in sure), "and not all of an unlabelled image's labels are sure"


def test_an_interrupted_recording_resumes_at_its_view(
    teacher: CheckpointTeacher, prepared: Path, outputs: Path, tmp_path: Path
) -> None:
    def interrupt(what: str, done: int, total: int, facts: object = None, /) -> None:
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        record([teacher], prepared, VIEWS, tmp_path, seed=0, progress=interrupt)
    assert (tmp_path / "logits.raw").stat().st_size == (outputs / "logits.raw").stat().st_size, "half a view is there"
    with pytest.raises(ValueError, match=r"expected a complete set in .*, got none; run teacher_outputs first"):
        TeacherOutputs.read(tmp_path, read_split(prepared, "train"))
    seen: list[int] = []
    record([teacher], prepared, VIEWS, tmp_path, seed=0, progress=lambda w, d, t, f=None: seen.append(d))
    assert min(seen) > 24  # the first view of the 24 images was not computed again
    for name in (*RAW, "about.json"):
        assert (tmp_path / name).read_bytes() == (outputs / name).read_bytes(), name


@pytest.mark.parametrize("name", [*RAW, "about.json"])
def test_a_damaged_view_of_an_interrupted_recording_is_named_and_computed_again(
    name: str,
    teacher: CheckpointTeacher,
    prepared: Path,
    outputs: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One bit of the first of two views is flipped, or of what is known of it."""
    shutil.copytree(outputs, tmp_path, dirs_exist_ok=True)
    about = json.loads((tmp_path / "about.json").read_text())
    about["done"] = 1
    del about["views_written"][1]
    (tmp_path / "about.json").write_text(json.dumps(about))
    content = bytearray((tmp_path / name).read_bytes())
    content[len(content) // 3] ^= 1
    (tmp_path / name).write_bytes(content)
    record([teacher], prepared, VIEWS, tmp_path, seed=0)
    assert f"{tmp_path / name}: expected the outputs that were written, got others" in caplog.text or (
        name == "about.json"  # a bit that changes a digit of a hash is found in the file of that hash
    )
    for file in (*RAW, "about.json"):
        assert (tmp_path / file).read_bytes() == (outputs / file).read_bytes(), file


def test_a_full_disk_raises_and_recording_resumes_when_there_is_space(
    teacher: CheckpointTeacher, prepared: Path, outputs: Path, tmp_path: Path
) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    one_view = (outputs / "pooled.raw").stat().st_size // 2
    resource.setrlimit(resource.RLIMIT_FSIZE, (one_view + 100, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            record([teacher], prepared, VIEWS, tmp_path, seed=0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert json.loads((tmp_path / "about.json").read_text())["done"] == 1
    record([teacher], prepared, VIEWS, tmp_path, seed=0)
    assert all((tmp_path / name).read_bytes() == (outputs / name).read_bytes() for name in RAW)


def test_finished_outputs_are_not_computed_again(teacher: CheckpointTeacher, prepared: Path, outputs: Path) -> None:
    before = {file.name: file.stat().st_mtime_ns for file in outputs.iterdir()}
    record([], prepared, VIEWS, outputs, seed=0)
    assert {file.name: file.stat().st_mtime_ns for file in outputs.iterdir()} == before


def test_outputs_of_other_images_are_refused(prepared: Path, outputs: Path) -> None:
    with pytest.raises(ValueError, match=r"teacher outputs in .*: expected those of \(\d+, 3\) images and labels"):
        TeacherOutputs.read(outputs, read_split(prepared, "test"))
    split = read_split(prepared, "train")
    with pytest.raises(ValueError, match="got those of other images"):
        TeacherOutputs.read(outputs, replace(split, targets=split.targets[::-1]))


def test_an_ensemble_is_stored_as_one_teacher(teacher: CheckpointTeacher, prepared: Path, tmp_path: Path) -> None:
    small = CheckpointTeacher(path=taggers.save(tmp_path / "small", LABELS, seed=1, image_px=24))
    split, chosen = read_split(prepared, "train"), np.arange(24)
    batches = []
    for name, teachers in (("both", [teacher, small]), ("first", [teacher]), ("second", [small])):
        (tmp_path / name).mkdir()
        record(teachers, prepared, VIEWS, tmp_path / name, seed=0)
        batches.append(TeacherOutputs.read(tmp_path / name, split).batch(chosen, 1))
    both, first, second = batches
    torch.testing.assert_close(both.logits, (first.logits + second.logits) / 2, atol=2e-3, rtol=2e-3)
    for part in ("embeddings", "pooled"):
        joined = torch.cat([getattr(first, part), getattr(second, part)], -1)
        torch.testing.assert_close(getattr(both, part), joined, atol=0, rtol=0)


def test_a_loss_that_needs_a_missing_output_is_named(prepared: Path, outputs: Path) -> None:
    stored = TeacherOutputs.read(outputs, read_split(prepared, "train"))
    stored.require((Bce(), LabelKL(), ClassAware(), Rkd()))
    logits_alone = replace(stored, embeddings=None, pooled=None)
    logits_alone.require((Bce(), LabelKL(), ClassAware(weight=0.0)))
    with pytest.raises(ValueError, match="loss class_aware: expected label-wise embeddings, got none"):
        logits_alone.require((Bce(), ClassAware()))
    with pytest.raises(ValueError, match="loss rkd: expected pooled features, got none"):
        logits_alone.require((Bce(), Rkd()))
    with pytest.raises(
        ValueError, match=r"loss label_map_kl: expected label maps, got none; .* add the loss to student"
    ):
        stored.require((Bce(), LabelMapKL()))
    with pytest.raises(ValueError, match=r"loss pca_maps: expected the last stage map, got none; "):
        stored.require((Bce(), PcaMaps()))


def test_outputs_that_are_nan_are_refused_with_the_image(prepared: Path, tmp_path: Path) -> None:
    broken = CheckpointTeacher(path=taggers.save(tmp_path / "net", LABELS, bias=float("nan")))
    for components in (0, 3):
        with pytest.raises(ValueError, match="teacher outputs: expected finite logits, got others for train/0; "):
            record([broken], prepared, VIEWS, tmp_path, seed=0, components=components)


def test_outputs_continue_from_the_features_of_frozen_layers(
    teacher: CheckpointTeacher, outputs: Path, prepared: Path, tmp_path: Path
) -> None:
    for name in ("first", "second"):
        out = tmp_path / name
        out.mkdir()
        record([teacher], prepared, VIEWS, out, seed=0, frozen_groups=2, features=tmp_path / "features")
    assert len(list((tmp_path / "features").glob("*.npy"))) == VIEWS.count
    split = read_split(prepared, "train")
    rows = np.arange(len(split))
    got, again, expected = (
        TeacherOutputs.read(folder, split).batch(rows, 1)
        for folder in (tmp_path / "first", tmp_path / "second", outputs)
    )
    torch.testing.assert_close(got.logits, expected.logits, rtol=5e-3, atol=5e-3)
    torch.testing.assert_close(got.logits, again.logits, rtol=0, atol=0)
