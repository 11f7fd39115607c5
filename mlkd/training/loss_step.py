"""The loss terms of a training step: the losses of a run, and the targets and teacher outputs they compare with."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlkd.data.loader import to_device
from mlkd.data.prepared import Split
from mlkd.losses import ClassAware
from mlkd.losses.base import LossInputs
from mlkd.models import checkpoint
from mlkd.models.network import TaggerNet
from mlkd.models.outputs import Outputs
from mlkd.teachers.sharded import open_outputs
from mlkd.training import distributed
from mlkd.training.config import Training
from mlkd.training.memory_bank import MemoryBank


class LossComputer:
    """Computes the loss terms of a run.

    `outputs` is a folder of `teachers.record.record`; `teacher`, that of a trained model, is loaded only where a loss
    needs stage maps that `outputs` lack.  Raises ValueError if a loss needs what neither has.
    """

    def __init__(
        self, split: Split, training: Training, outputs: Path | None, teacher: Path | None, device: torch.device
    ) -> None:
        if training.needs_teacher and outputs is None:
            raise ValueError("training.losses: expected only losses without a teacher, got one that needs its outputs")
        if "features" in training.needs and teacher is None:
            raise ValueError("training.losses: expected a teacher trained here for a loss on stage maps, got none")
        self.split, self.losses, self.device = split, [loss for loss in training.losses if loss.weight], device
        self.needs_teacher = training.needs_teacher
        self.needs_of_whole_batch = {need for loss in self.losses if loss.compares_images for need in loss.needs}
        self.teacher_outputs = open_outputs(outputs, split) if outputs else None
        if self.teacher_outputs:
            self.teacher_outputs.require(self.losses)
        sizes = [loss.memory for loss in self.losses if isinstance(loss, ClassAware)]
        self.memory_bank = MemoryBank(sizes[0]) if any(sizes) else None
        self.teacher: TaggerNet | None = None
        if teacher and "features" in training.needs and not (self.teacher_outputs and self.teacher_outputs.maps):
            self.teacher = checkpoint.load_model(teacher).to(device)

    @property
    def teacher_shapes(self) -> tuple[tuple[int, int, int], ...]:
        """(C, H, W) of the teacher's stage maps, shallow first; empty where no loss needs them."""
        if self.teacher:
            return self.teacher.stage_shapes()
        maps = self.teacher_outputs.maps if self.teacher_outputs else ()
        return tuple((stage.shape[2], stage.shape[3], stage.shape[4]) for stage in maps)

    def compute_terms(
        self, student: Outputs, rows: NDArray[np.int64], images: Sequence[Tensor], *, view: int, epochs: float
    ) -> dict[str, Tensor]:
        """Weighted loss terms by kind.

        `student` are its outputs for view number `view` of these rows of the split; where a teacher runs along, the
        last of `images` are its own.  `epochs`, trained so far, decide the ramps.
        """
        student = student.each(Tensor.float)  # autocast may have computed it in half precision
        teacher = self._teacher(rows, images, view) if self.needs_teacher else student
        targets = to_device(torch.from_numpy(self.split.targets[rows].astype(np.float32)), self.device)
        mask = self.split.label_mask
        label_mask = None if mask is None else to_device(torch.from_numpy(mask[rows]), self.device)
        own = LossInputs(student, teacher, targets, label_mask)
        whole = distributed.gather(own, self.needs_of_whole_batch) if self.needs_of_whole_batch else own
        terms: dict[str, Tensor] = {}
        for loss in self.losses:
            inputs = whole if loss.compares_images else own
            if self.memory_bank and isinstance(loss, ClassAware):
                value = self.memory_bank.compute_loss(loss, inputs)
            else:
                value = loss.value(inputs)
            terms[loss.kind] = loss.weight_at(epochs) * value
        return terms

    def _teacher(self, rows: NDArray[np.int64], images: Sequence[Tensor], view: int) -> Outputs:
        assert self.teacher_outputs is not None, "__init__ has checked"
        outputs = self.teacher_outputs.batch(rows, view).each(lambda tensor: to_device(tensor, self.device))
        if self.teacher is None:
            return outputs
        with torch.no_grad():
            live: Outputs = self.teacher(images[-1], features=True)
        return dataclasses.replace(outputs, features=live.features)
