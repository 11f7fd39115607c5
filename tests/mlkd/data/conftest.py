"""Cut-outs and photographs that a test draws: shapes with alpha in folders of three labels, noise behind them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from mlkd.data import Scenes

LABELS = ("bar", "disc", "star")


def draw(label: str, index: int) -> Image.Image:
    """One cut-out; every index has lines and colours of its own."""
    rng = np.random.default_rng([LABELS.index(label), index])
    image = Image.new("RGBA", (90, 90))
    pen = ImageDraw.Draw(image)
    shape = {"bar": (5, 25 + index, 85, 65 - index), "disc": (10, 10, 80, 80), "star": (20, 5, 70, 85)}[label]
    tones = [(*(int(value) for value in rng.integers(20, 235, 3)), 255) for _ in range(6)]
    (pen.rectangle if label == "bar" else pen.ellipse)(shape, fill=tones[0])
    for number, tone in enumerate(tones[1:]):
        x, y = (int(value) for value in rng.integers(15, 60, 2))
        if label != "star":
            x, y = x // 2 + 20, y // 3 + 32
        pen.rectangle((x, y, x + 14 - number, y + 10), fill=tone)
    return image


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders cutouts/LABEL/*.png and backgrounds/*.jpg."""
    root = tmp_path_factory.mktemp("drawn")
    for label in LABELS:
        (root / "cutouts" / label).mkdir(parents=True)
        for index in range(9):
            draw(label, index).save(root / "cutouts" / label / f"{index}.png")
    (root / "backgrounds").mkdir()
    rng = np.random.default_rng(7)
    for index in range(6):
        small = rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(small).resize((160, 120)).save(root / "backgrounds" / f"{index}.jpg", quality=90)
    return root


@pytest.fixture
def scenes(drawn: Path) -> Scenes:
    return Scenes(image_px=48, train=40, val=20, test=20, cutouts=drawn / "cutouts", backgrounds=drawn / "backgrounds")
