"""One small tagger with the real head, exported once for all tests of this folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from export.to_onnx import to_onnx
from mlkd.labels import Labels
from mlkd.models import Model, Tagger
from mlkd.models.heads import LabelDecoder

PX = 32
LABELS = Labels(("cat", "dog", "bird", "boat", "tree"))


@pytest.fixture(scope="session")
def tagger() -> Tagger:
    """Untrained, but with normalisation statistics of pictures and scores that differ between pictures and labels."""
    torch.manual_seed(0)
    head = LabelDecoder(embedding=32, heads=4, feed_forward=64)
    module = Model(backbone="test_efficientnet", image_px=PX, head=head).build(len(LABELS))
    with torch.no_grad():
        module.head.label_weight.mul_(3)
        module.head.label_bias.normal_()
        for seed in range(20):
            module.train()(torch.from_numpy(draw(32, seed)))
    return module.eval()


@pytest.fixture(scope="session")
def fp32(tagger: Tagger, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return to_onnx(tagger, LABELS, PX, tmp_path_factory.mktemp("export") / "fp32.onnx", recipe_hash="c0ffee")


@pytest.fixture(scope="session")
def pictures() -> NDArray[np.uint8]:
    return draw(128, 100)


@pytest.fixture(scope="session")
def expected(tagger: Tagger, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """torch's own scores of the pictures (N, L)."""
    with torch.no_grad():
        scores: NDArray[np.float32] = tagger(torch.from_numpy(pictures)).logits.sigmoid().numpy()
    return scores


@pytest.fixture(scope="session")
def calibration() -> NDArray[np.uint8]:
    return draw(64, 200)


def draw(count: int, seed: int) -> NDArray[np.uint8]:
    """Pictures (count, PX, PX, 3) of two coloured boxes on a slope of colours."""
    random = np.random.default_rng(seed)
    corners = random.uniform(0, 255, (2, count, 1, 1, 3))
    slope = np.linspace(0, 1, PX)[None, :, None, None]
    pictures = corners[0] * slope + corners[1] * (1 - slope) + np.zeros((1, 1, PX, 1))
    for picture in pictures:
        for _ in range(2):
            top, left = random.integers(0, PX - 8, 2)
            high, wide = random.integers(6, PX // 2, 2)
            picture[top : top + high, left : left + wide] = random.uniform(0, 255, 3)
    return pictures.round().astype(np.uint8)
