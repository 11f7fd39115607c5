"""A small prepared set of real image files: coloured squares on noise, three labels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlkd.core.labels import Labels
from mlkd.data import Shards
from mlkd.data.base import Listing, Sample
from mlkd.data.preparation import prepare
from mlkd.data.shards.write import write_shards

COLOURS = ((250, 30, 30), (30, 250, 30), (30, 30, 250))
COUNTS = {"train": 24, "val": 12, "test": 8}


class Squares:
    """Draws its images; a stand-in for a user's folder."""

    def fingerprint(self) -> str:
        return "squares"

    def read(self, work: Path, progress: object) -> Listing:
        rng = np.random.default_rng(0)
        splits = {split: [self._draw(work, split, i, rng) for i in range(count)] for split, count in COUNTS.items()}
        return Listing(Labels(("red", "green", "blue")), splits, "drawn by a test", (), composed=True, skipped={})

    def _draw(self, work: Path, split: str, index: int, rng: np.random.Generator) -> Sample:
        pixels = rng.integers(60, 120, (32, 32, 3), dtype=np.uint8)
        positives = tuple(int(c) for c in np.flatnonzero(rng.random(3) < 0.6)) or (index % 3,)
        for label in positives:
            y, x = rng.integers(0, 22, 2)
            pixels[y : y + 10, x : x + 10] = COLOURS[label]
        file = work / "images" / split / f"{index}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file)
        return Sample(f"{split}/{index}", file, positives, f"{split}{index}")


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "prepared"
    prepare(Squares(), out, (32, 24))
    return out


@pytest.fixture(scope="session")
def shards(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same images as shards of three, eight of them for training."""
    root = tmp_path_factory.mktemp("shards") / "root"
    write_shards(prepared, root, images=3, seed=0)
    return root


@pytest.fixture(scope="session")
def streamed(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The prepared set of the shards, with four streams that shuffle five images."""
    out = tmp_path_factory.mktemp("data") / "streamed"
    prepare(Shards(root=shards, streams=4, shuffle=5), out, (32, 24))
    return out


@pytest.fixture(scope="module")
def load_in_process() -> Iterator[None]:
    """Augment images in the test process; starting another one takes longer than these trainings."""
    with pytest.MonkeyPatch.context() as patch:
        for module in ("mlkd.models.feature_cache", "mlkd.teachers.record", "mlkd.training.batches"):
            patch.setattr(f"{module}.workers", lambda **_: 0)
        yield
