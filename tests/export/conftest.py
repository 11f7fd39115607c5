"""One small tagger with the real head, exported once for all tests of this folder."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn.functional import binary_cross_entropy_with_logits

from export.onnx.to_onnx import to_onnx
from export.precision.ranges import Ranges, calibrate
from mlkd.core.labels import Labels
from mlkd.models.config import Model
from mlkd.models.heads import LabelDecoder
from mlkd.models.network import TaggerNet
from tests.helpers.once import Once

PX = 32
LABELS = Labels(("red", "green", "blue", "top", "middle"))
HEAD = LabelDecoder(embedding=32, heads=4, feed_forward=64, dropout=0)
MODEL = Model(backbone="test_resnet", image_px=PX, head=HEAD)


@pytest.fixture(scope="session")
def trained(once: Once) -> Path:
    """The folder of the tagger's weights and graph."""

    def export(folder: Path) -> None:
        module = train()
        torch.save(module.state_dict(), folder / "weights.pt")
        to_onnx(module, LABELS, PX, folder / "fp32.onnx", recipe_hash="c0ffee")

    return once("trained", export)


def train() -> TaggerNet:
    """Train for seconds, so that int8 can be judged by mAP."""
    torch.manual_seed(0)
    module = MODEL.build(len(LABELS)).train()
    images = draw(512, 0)
    wanted = torch.from_numpy(targets_of(images)).float()
    optimizer = torch.optim.AdamW(module.parameters(), lr=3e-3)
    for step in range(64):
        batch = slice(step % 8 * 64, step % 8 * 64 + 64)
        loss = binary_cross_entropy_with_logits(module(torch.from_numpy(images[batch])).logits, wanted[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return module.eval()


@pytest.fixture(scope="session")
def tagger(trained: Path) -> TaggerNet:
    module = MODEL.build(len(LABELS))
    module.load_state_dict(torch.load(trained / "weights.pt"))
    return module.eval()


@pytest.fixture(scope="session")
def fp32(trained: Path) -> Path:
    return trained / "fp32.onnx"


@pytest.fixture(scope="session")
def images() -> NDArray[np.uint8]:
    return draw(256, 100)


@pytest.fixture(scope="session")
def targets(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return targets_of(images)


@pytest.fixture(scope="session")
def expected(tagger: TaggerNet, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """torch's own scores of the images (N, L)."""
    with torch.no_grad():
        scores: NDArray[np.float32] = tagger(torch.from_numpy(images)).logits.sigmoid().numpy()
    return scores


@pytest.fixture(scope="session")
def calibration() -> NDArray[np.uint8]:
    return draw(64, 200)


@pytest.fixture(scope="session")
def min_max(fp32: Path, calibration: NDArray[np.uint8]) -> Ranges:
    return calibrate(fp32, calibration, "min_max")


def draw(count: int, seed: int) -> NDArray[np.uint8]:
    """Images (count, PX, PX, 3) of two coloured boxes on a slope of colours."""
    random = np.random.default_rng(seed)
    corners = random.uniform(0, 255, (2, count, 1, 1, 3))
    slope = np.linspace(0, 1, PX)[None, :, None, None]
    images = corners[0] * slope + corners[1] * (1 - slope) + np.zeros((1, 1, PX, 1))
    for image in images:
        for _ in range(2):
            top, left = random.integers(0, PX - 8, 2)
            high, wide = random.integers(6, PX // 2, 2)
            image[top : top + high, left : left + wide] = random.uniform(0, 255, 3)
    return images.round().astype(np.uint8)


def targets_of(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Labels (N, L): which channels are strong, whether the upper half or the middle is brighter than the rest."""
    colours = images.mean((1, 2)) > 135
    light = images.mean(3)
    top = light[:, : PX // 2].mean((1, 2)) > light[:, PX // 2 :].mean((1, 2))
    quarter = slice(PX // 4, 3 * PX // 4)
    middle = light[:, quarter, quarter].mean((1, 2)) > light.mean((1, 2))
    return np.column_stack([colours, top, middle]).astype(np.uint8)
