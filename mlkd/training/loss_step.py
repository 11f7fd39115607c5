"""What the losses of a run see: targets, what is known, and the teacher's outputs; and the terms that come of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TypeGuard

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlkd.data.prepared import Split
from mlkd.losses import ClassAware, Loss
from mlkd.losses.base import Need, positives
from mlkd.models import checkpoint
from mlkd.models.network import TaggerNet
from mlkd.models.outputs import Outputs
from mlkd.teachers.cache import TeacherOutputs
from mlkd.training import distributed
from mlkd.training.config import Training
from mlkd.training.memory_bank import Recent


class Lesson:
    """The losses of a run with everything they compare a student with.

    `outputs` is the folder of teacher_outputs.record; `teacher`, a trained net, runs along only where a loss needs
    stage maps.  Raises ValueError when a loss needs what there is not.
    """

    def __init__(
        self, split: Split, training: Training, outputs: Path | None, teacher: Path | None, device: torch.device
    ) -> None:
        if training.needs_teacher and outputs is None:
            raise ValueError("training.losses: expected only losses without a teacher, got one that needs its outputs")
        if "features" in training.needs and teacher is None:
            raise ValueError("training.losses: expected a teacher trained here for a loss on stage maps, got none")
        self.split, self.losses, self.device = split, [loss for loss in training.losses if loss.weight], device
        self.compares = training.needs_teacher
        between: set[Need] = set()
        self.between_images = between.union(*(loss.needs for loss in self.losses if loss.compares_images))
        self.cached = TeacherOutputs.read(outputs, split) if outputs else None
        if self.cached:
            self.cached.require(self.losses)
        self.recent = next((Recent(loss.memory) for loss in self.losses if _remembers(loss)), None)
        self.live: TaggerNet | None = None
        if teacher and "features" in training.needs:
            self.live = checkpoint.load_model(teacher).to(device)

    def kept(self) -> dict[str, Tensor]:
        """What later batches see of earlier ones, to be saved with the run."""
        return self.recent.tensors() if self.recent else {}

    def restore(self, kept: dict[str, Tensor]) -> None:
        """Take up what `kept` gave."""
        if self.recent:
            self.recent.restore(kept, self.device)

    def terms(
        self, student: Outputs, rows: NDArray[np.int64], images: Sequence[Tensor], *, view: int, epochs: float
    ) -> dict[str, Tensor]:
        """Weighted loss terms by kind, for the split's `rows` in one view, after so many `epochs`.

        `images` holds the student's images and, where a net runs along, the teacher's.
        """
        student = student.each(Tensor.float)  # whatever the nets computed in
        teacher = self._teacher(rows, images, view) if self.compares else student
        targets = torch.from_numpy(self.split.targets[rows].astype(np.float32)).to(self.device)
        label_mask = (
            None if self.split.label_mask is None else torch.from_numpy(self.split.label_mask[rows]).to(self.device)
        )
        mine = everyone = (student, teacher, targets, label_mask)
        if self.between_images:
            everyone = distributed.gathered(*mine, self.between_images)
        terms: dict[str, Tensor] = {}
        for loss in self.losses:
            seen = everyone if loss.compares_images else mine
            value = self._with_recent(*seen) if _remembers(loss) else loss(*seen)
            terms[loss.kind] = loss.weight * _ramp(epochs, loss.ramp_epochs) * value
        return terms

    def _with_recent(self, student: Outputs, teacher: Outputs, targets: Tensor, label_mask: Tensor | None) -> Tensor:
        assert self.recent is not None, "made at the start"
        kind = ClassAware.kind
        chosen = positives(targets, label_mask, teacher.logits)
        return self.recent.class_aware(student.label_embeddings(kind), teacher.label_embeddings(kind), chosen)

    def _teacher(self, rows: NDArray[np.int64], images: Sequence[Tensor], view: int) -> Outputs:
        assert self.cached is not None, "checked at the start"
        teacher = self.cached.batch(rows, view).each(lambda tensor: tensor.to(self.device))
        if self.live is None:
            return teacher
        with torch.no_grad():
            live: Outputs = self.live(images[1], features=True)
        return dataclasses.replace(teacher, features=live.features)


def _remembers(loss: Loss) -> TypeGuard[ClassAware]:
    return isinstance(loss, ClassAware) and loss.memory > 0


def _ramp(epochs: float, ramp_epochs: float) -> float:
    return min(1.0, epochs / ramp_epochs) if ramp_epochs else 1.0
