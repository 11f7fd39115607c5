"""Steps of the student of the default recipe: alone, and distilled from stored outputs."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from mlkd.losses import Bce
from mlkd.models import checkpoint
from mlkd.models.weights import RandomWeights
from pipeline.recipe.schema import load_recipe
from scripts.speed.ratio import Ratio, Way, seconds
from scripts.speed.trial import Clock, Trial

LABELS, STEPS, EPOCHS = 30, 6, 2  # steps of an epoch, the first epoch warms up

RATIOS = (
    Ratio(
        what="Distillation, teacher's outputs recorded on the way ÷ (student + teacher's forward)",
        top=("distilled", "recording"),
        bottom=("student", "teacher's forward"),
        limit=1.05,
        at_least=False,
        cause="the teacher's images are augmented and its outputs written, which its forward alone does not",
    ),
    Ratio(
        what="Distillation from stored outputs ÷ student",
        top=("distilled",),
        bottom=("student",),
        limit=1.02,
        at_least=False,
        cause="reading outputs and the losses take more than 2 % of so short a step",
    ),
    Ratio(
        what="The same with stage maps (reviewkd) ÷ student",
        top=("distilled, stage maps",),
        bottom=("student",),
        limit=1.02,
        at_least=False,
        cause="its adapters are convolutions that are trained along",
    ),
)


def ways(folder: Path) -> dict[str, Way]:
    """Seconds an image."""
    trial = default_trial(folder)
    trial.write_set()
    trial.write_teacher()
    trial.record()
    numbers = itertools.count()
    losses = trial.training.losses
    without_maps = tuple(loss for loss in losses if "features" not in loss.needs)
    batch = trial.training.batch_size

    def steps(**options: object) -> float:
        clock = Clock(EPOCHS)
        trial.steps(f"run{next(numbers)}", clock, **options)
        return float(np.median(clock.seconds)) / batch

    def recording() -> float:
        out = folder / f"recorded{next(numbers)}"
        return seconds(lambda: replace(trial, outputs=out).record()) / trial.images

    return {
        "student": lambda: steps(losses=(Bce(),)),
        "distilled": lambda: steps(losses=without_maps),
        "distilled, stage maps": lambda: steps(losses=losses),
        "student, nothing cached": lambda: steps(losses=(Bce(),), cached=False),
        "teacher's forward": forward(trial),
        "recording": recording,
    }


def default_trial(folder: Path) -> Trial:
    recipe = load_recipe("scenes")
    assert recipe.teacher is not None
    student, teacher = (replace(part.model, weights=RandomWeights()) for part in (recipe.student, recipe.teacher))
    training = replace(recipe.student.training, epochs=EPOCHS, stop_epoch=0, trackers=())
    return Trial(
        folder=folder,
        outputs=folder / "outputs",
        images=STEPS * training.batch_size,
        labels=LABELS,
        student=student,
        teacher=teacher,
        training=training,
        views=replace(recipe.views, count=1),
    )


def forward(trial: Trial) -> Way:
    """Time the teacher on a batch."""
    tagger, batch, px = checkpoint.load_model(trial.teacher_folder), trial.training.batch_size, trial.teacher.image_px
    images = torch.randint(0, 256, (batch, px, px, 3), dtype=torch.uint8)

    def run() -> float:
        with torch.inference_mode():
            return seconds(lambda: tagger(images), 5) / batch

    return run
