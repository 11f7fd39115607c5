"""What decoding and augmentation prepare in the time in which the student of the default recipe trains on an image."""

from __future__ import annotations

import itertools
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from mlkd.data import decode
from pipeline.recipe.schema import load_recipe
from scripts.speed.ratio import Ratio, Way, seconds

COUNT, TIMES = 500, 4  # images, and how often each is decoded, as processes take time to start

RATIOS = (
    Ratio(what="Student's step ÷ decoding, same cores", top=("student",), bottom=("decoding",), limit=2),
    Ratio(
        what="Student's step on all cores ÷ augmentation on one",
        top=("student, nothing cached",),
        bottom=("augmentation",),
        limit=20,
        cause="a view is a chain of small operations, which suffer most from other work on the machine",
    ),
)


def ways(folder: Path) -> dict[str, Way]:
    """Seconds an image, at both sizes of the recipe; the student is timed by `training`."""
    recipe = load_recipe("scenes")
    assert recipe.teacher is not None
    sizes = (recipe.student.model.image_px, recipe.teacher.model.image_px)
    files = draw(folder)
    arrays = {px: folder / f"{px}.npy" for px in sizes}
    decode.decode_files(files[:1], arrays, lambda _: None)
    pixels = np.load(arrays[sizes[0]])[0]
    rows = itertools.count()

    def augment() -> None:
        """One thread, as in a process that loads images."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        for _ in range(COUNT):
            recipe.views.apply(pixels, seed=0, row=next(rows), view=0)
        torch.set_num_threads(threads)

    many = files * TIMES
    return {
        "decoding": lambda: seconds(partial(decode.decode_files, many, arrays, lambda _: None)) / len(many),
        "augmentation": lambda: seconds(augment) / COUNT,
    }


def draw(folder: Path) -> list[Path]:
    """Draw JPEGs of 640 × 480 with the detail of a photograph: noise at three scales."""
    rng = np.random.default_rng(0)
    files = []
    for number in range(COUNT):
        image = sum(
            np.asarray(
                Image.fromarray(rng.integers(0, 255, (h, 4 * h // 3, 3), dtype=np.uint8)).resize((640, 480)), float
            )
            for h in (6, 30, 150)
        )
        files.append(folder / f"{number}.jpg")
        Image.fromarray((np.asarray(image) / 3).astype(np.uint8)).save(files[-1], quality=90)
    return files
