"""A teacher that pads gets the aspect ratio of each image file, in evaluation and in every view."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mlkd.core import images
from mlkd.core.labels import Labels
from mlkd.data.augment import Views
from mlkd.data.prepared import read_split
from mlkd.models.outputs import Outputs
from mlkd.teachers import scores
from mlkd.teachers.base import Aspects, ImagesBySize
from mlkd.teachers.cache import TeacherOutputs
from mlkd.teachers.record import record


@dataclass(frozen=True)
class Echo:
    """Its logits are the aspect ratios."""

    pads: bool = True
    sizes: tuple[int, ...] = (32,)
    runs_on: str = "cpu"

    def load(self, _: Labels) -> Echo:
        return self

    def __call__(self, images: ImagesBySize, aspects: Aspects | None = None, /) -> Outputs:
        count = len(images[32])
        values = aspects if self.pads and aspects is not None else np.zeros(count)
        return Outputs(logits=torch.from_numpy(values).float()[:, None].repeat(1, 3))


@pytest.fixture(autouse=True)
def by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "aspect", lambda file: 1 + int(file.stem) / 4)


def test_aspect_ratios_in_evaluation(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlkd.data.loader.scored_at_once", lambda px, cuda: 3)
    split = read_split(prepared, "test")
    got = scores(Echo(), split)
    expected = [1 + int(file.stem) / 4 for file in split.files]
    np.testing.assert_allclose(np.log(got / (1 - got))[:, 0], expected, rtol=1e-4)


def test_aspect_ratios_in_every_view_of_an_ensemble(prepared: Path, tmp_path: Path) -> None:
    split, views = read_split(prepared, "train"), Views(count=2)
    teachers: Any = (Echo(), Echo(pads=False))
    record(teachers, prepared, views, tmp_path, seed=0)
    logits = TeacherOutputs.read(tmp_path, split).logits
    expected = np.array([1 + int(file.stem) / 4 for file in split.files]) / 2  # the mean of both
    np.testing.assert_allclose(logits[..., 0], np.stack([expected, expected]), rtol=1e-3)
