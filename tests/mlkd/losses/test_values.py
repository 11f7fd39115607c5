"""Values against plain loops in float64, and the published total."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from PIL import Image

from mlkd import losses
from mlkd.models.outputs import Outputs
from tests.helpers import reference
from tests.helpers.loss_batches import L2D

MAPS = ((3, 7, 5), (4, 4, 4), (5, 2, 3), (6, 1, 1))  # heights above, at and below the pools of 4, 2 and 1


@dataclass(frozen=True)
class Net:
    """What a net put out, as arrays."""

    logits: np.ndarray
    embeddings: np.ndarray
    pooled: np.ndarray
    features: tuple[np.ndarray, ...]
    label_maps: np.ndarray
    last_map: np.ndarray

    def outputs(self) -> Outputs:
        features = tuple(torch.from_numpy(maps) for maps in self.features)
        vectors = (torch.from_numpy(values) for values in (self.logits, self.embeddings, self.pooled))
        return Outputs(*vectors, features, torch.from_numpy(self.label_maps), torch.from_numpy(self.last_map))


def net(images: int, labels: int, embedding: int, pooled: int, rng: np.random.Generator) -> Net:
    return Net(
        rng.normal(size=(images, labels)) * 2,
        rng.normal(size=(images, labels, embedding)),
        rng.normal(size=(images, pooled)),
        tuple(rng.normal(size=(images, *shape)) for shape in MAPS),
        rng.normal(size=(images, labels, 3, 4)),
        rng.normal(size=(images, pooled, 3, 4)),
    )


def batch(images: int, labels: int, seed: int = 0) -> tuple[Net, Net, np.ndarray, np.ndarray]:
    """Student, teacher, targets, known."""
    rng = np.random.default_rng(seed)
    truth, label_mask = (rng.random((2, images, labels)) < [[[0.4]], [[0.7]]]).astype(float)
    return net(images, labels, 4, 5, rng), net(images, labels, 6, 7, rng), truth, label_mask > 0


def value(loss: losses.Loss, s: Net, t: Net, y: np.ndarray, label_mask: np.ndarray | None = None) -> float:
    mask = None if label_mask is None else torch.from_numpy(label_mask)
    return loss(s.outputs(), t.outputs(), torch.from_numpy(y), mask).item()


def positions(s: Net, t: Net) -> list[tuple[np.ndarray, np.ndarray]]:
    """The logits of both at each position."""
    size = s.label_maps.shape[2:]
    return [(s.label_maps[:, :, row, column], t.label_maps[:, :, row, column]) for row, column in np.ndindex(size)]


@pytest.mark.parametrize("size", [(7, 6), (3, 4), (5, 5)])
@pytest.mark.parametrize(("loss", "maps"), [(losses.LabelMapKL(), "label_maps"), (losses.PcaMaps(), "last_map")])
def test_maps_of_the_teacher_are_resized_as_images_are(loss: losses.Loss, maps: str, size: tuple[int, int]) -> None:
    """Pillow's bilinear filter, which averages where it reduces."""
    s, t, y, _ = batch(2, 3)
    larger = np.random.default_rng(5).normal(size=(2, getattr(t, maps).shape[1], *size)).astype(np.float32)
    planes = (Image.fromarray(plane).resize((4, 3), Image.Resampling.BILINEAR) for plane in larger.reshape(-1, *size))
    resized = np.reshape([np.asarray(plane) for plane in planes], (2, -1, 3, 4)).astype(float)
    got, expected = (value(loss, s, replace(t, **{maps: values}), y) for values in (larger, resized))
    assert got == pytest.approx(expected, rel=1e-5)


def test_a_teacher_with_fewer_components_is_refused() -> None:
    losses.PcaMaps(channels=4).check_channels(4)
    with pytest.raises(ValueError, match="loss pca_maps: expected 5 principal components of the teacher, got 4; lower"):
        losses.PcaMaps(channels=5).check_channels(4)
    with pytest.raises(ValueError, match="loss pca_maps: channels: expected at least 1, got 0"):
        losses.PcaMaps(channels=0)


@pytest.mark.parametrize("seed", range(3))
def test_values_equal_the_plain_loops(seed: int) -> None:
    s, t, y, label_mask = batch(9, 7, seed)
    for loss, expected in (
        (losses.Bce(), reference.bce(s.logits, y)),
        (losses.Bce(positive_weight=2.5), reference.bce(s.logits, y, positive_weight=2.5)),
        (losses.Asymmetric(), reference.asymmetric(s.logits, y)),
        (
            losses.Asymmetric(gamma_negative=2.5, gamma_positive=0, clip=0),
            reference.asymmetric(s.logits, y, None, 2.5, 0, 0),
        ),
        (losses.LabelKL(temperature=2.0), reference.label_kl(s.logits, t.logits, 2.0)),
        (losses.LabelMapKL(), np.mean([reference.label_kl(*at) for at in positions(s, t)])),
        (losses.LabelMapKL(temperature=3.0), np.mean([reference.label_kl(*at, 3.0) for at in positions(s, t)])),
        (losses.PcaMaps(), np.mean((s.last_map - t.last_map[:, :5]) ** 2)),
        (losses.Mse(), reference.mse(s.logits, t.logits)),
        (losses.Mse(on="scores"), reference.mse(s.logits, t.logits, "scores")),
        (losses.Kd(), reference.kd(s.logits, t.logits)),
        (losses.Kd(temperature=1.0), reference.kd(s.logits, t.logits, 1.0)),
        (losses.PartialSoftmax(), reference.partial_softmax(s.logits, t.logits, y)),
        (losses.ClassAware(), reference.class_aware(s.embeddings, t.embeddings, y)),
        (losses.InstanceAware(), reference.instance_aware(s.embeddings, t.embeddings, y)),
        (losses.Rkd(), reference.rkd(s.pooled, t.pooled)),
        (losses.Rkd(distance_weight=1.0, angle_weight=0.0), reference.rkd(s.pooled, t.pooled, 1.0, 0.0)),
        (losses.Pkt(), reference.pkt(s.pooled, t.pooled)),
        (losses.ReviewKD(), reference.reviewkd(list(s.features), list(t.features))),
    ):
        # pkt's terms of 1/N nearly cancel, so its last digits are lost: relative to a value of 1e-4, 1e-9 is 1e-13
        assert value(loss, s, t, y) == pytest.approx(expected, rel=1e-9, abs=1e-13), loss
    for loss, expected in (
        (losses.Bce(positive_weight=2.5), reference.bce(s.logits, y, label_mask, 2.5)),
        (losses.Asymmetric(), reference.asymmetric(s.logits, y, label_mask)),
        (losses.PartialSoftmax(), reference.partial_softmax(s.logits, t.logits, y, label_mask)),
    ):
        assert value(loss, s, t, y, label_mask) == pytest.approx(expected, rel=1e-9), loss


def test_by_hand() -> None:
    """Three images of one label at 0, 1, 3 (teacher) and 0, 1, 2 (student) on a line."""
    e_t = torch.tensor([0.0, 1.0, 3.0]).view(3, 1, 1)
    e_s = torch.tensor([0.0, 1.0, 2.0]).view(3, 1, 1)
    # relative distances: teacher 1/2, 2/2, 3/2; student 1, 1, 2 over 4/3 = 3/4, 3/4, 3/2
    expected = 2 * (0.25**2 / 2 + 0.25**2 / 2) / 3 / 3
    none, zeros = torch.zeros(3, 1), torch.zeros(1, 1)
    assert float(losses.ClassAware()(Outputs(none, e_s), Outputs(none, e_t), torch.ones(3, 1))) == pytest.approx(
        expected
    )
    three_to_one = Outputs(torch.full((1, 1), np.log(3.0)))
    assert float(losses.LabelKL()(Outputs(zeros), three_to_one, zeros)) == pytest.approx(
        0.75 * np.log(1.5) + 0.25 * np.log(0.5), rel=1e-6
    )


def test_published_total_is_64_times_ours_at_its_batch_of_64() -> None:
    s, t, y, _ = batch(64, 5)
    n = 64
    bce_sum, mld = reference.bce(s.logits, y) * n, reference.label_kl(s.logits, t.logits)
    cd_sum = reference.class_aware(s.embeddings, t.embeddings, y) * n
    id_sum = reference.instance_aware(s.embeddings, t.embeddings, y) * n
    published = bce_sum + 10 * mld + 100 * cd_sum + 1000 * id_sum
    ours = sum(loss.weight * value(loss, s, t, y) for loss in L2D)
    assert n * ours == pytest.approx(published, rel=1e-10)
