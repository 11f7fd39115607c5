"""What teacher and student cost, in words, before anything is trained."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from mlkd.core.labels import Labels
from mlkd.teachers import OnnxTeacher, ReadyTeacher
from pipeline import costs
from pipeline.estimates import ASSUMED_LABELS, labels_of
from pipeline.recipe.schema import Recipe, Trained


def lines(recipe: Recipe, data: Path | None) -> Iterator[str]:
    """One for each teacher, one for the student; `data` is the prepared set if there is one."""
    labels = labels_of(recipe, data)
    note = "" if labels else f", per {ASSUMED_LABELS} labels (assumed: the images are not read yet)"
    for ready in recipe.ready_teachers:
        yield f"teacher  {_describe_pretrained(ready, labels)}"
    for name, trained in (("teacher", recipe.teacher), ("student", recipe.student)):
        if trained is not None:
            yield f"{name}  {_describe(trained, len(labels or ()) or ASSUMED_LABELS)}{note}"


def _describe_pretrained(teacher: ReadyTeacher, labels: Labels | None) -> str:
    """Open a pretrained teacher and time it; raises ValueError if it does not have the labels of the data."""
    name = f"{teacher.path} @{teacher.image_px}"
    if labels is None and isinstance(teacher, OnnxTeacher) and teacher.labels_in_order:
        return f"{name}: not opened, because it has the labels of the data, which is not read yet"
    import numpy as np
    import torch

    loaded = teacher.load(labels)
    image = {teacher.image_px: torch.zeros(1, teacher.image_px, teacher.image_px, 3, dtype=torch.uint8)}
    square = np.ones(1)  # an aspect ratio
    with torch.inference_mode():
        loaded(image, square)  # to warm up
        began = time.perf_counter()
        loaded(image, square)
    taken_ms = 1000 * (time.perf_counter() - began)
    return f"{name}: {loaded.label_count} labels, {taken_ms:.1f} ms an image on {loaded.runs_on}"


def _describe(trained: Trained, labels: int) -> str:
    model, numbers = trained.model, costs.count(trained.model, trained.training.frozen_groups, labels)
    head = f"{model.head.kind} {getattr(model.head, 'embedding', '')}".strip()
    share = 100 * numbers.head_multiply_adds / numbers.multiply_adds
    return (
        f"{model.name} @{model.image_px} + {head}: {_millions(numbers.parameters)} parameters, "
        f"{_millions(numbers.multiply_adds)} multiply-adds (head {share:.0f} %)"
    )


def _millions(count: int) -> str:
    """Format with at least two digits: 0.14 M, 5.7 M, 136 M."""
    millions = count / 1e6
    return f"{millions:.2g} M" if millions < 10 else f"{millions:.0f} M"
