"""A memory bank of label-wise embeddings, for labels with few positives in a batch."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mlkd.losses import ClassAware
from mlkd.losses.base import LossInputs
from mlkd.losses.class_aware import class_aware


class MemoryBank:
    """The last `size` positives of each label, as student and teacher embedded them in earlier batches.

    Two positives of a label have no structure on their own; together with the stored ones they have.  The `stored`
    tensors are part of the state of a run; there are none before the first batch.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.stored: dict[str, Tensor] = {}  # student (K, L, Ds), teacher (K, L, Dt), seen (L,): positives in total

    def compute_loss(self, loss: ClassAware, inputs: LossInputs) -> Float[Tensor, ""]:
        """`class_aware` over the batch and the stored positives, per image of the batch; then stores the batch.

        Only embeddings of the batch carry gradient.  A label without positives in the batch adds nothing.
        """
        student, teacher = (outputs.label_embeddings(loss.kind) for outputs in (inputs.student, inputs.teacher))
        positive = inputs.positives()
        self._allocate(student, teacher)
        filled = torch.arange(self.size, device=student.device)[:, None] < self.stored["seen"]
        stored = filled & positive.any(0)
        joined = [
            torch.cat([new, self.stored[name].to(new)]) for name, new in (("student", student), ("teacher", teacher))
        ]
        value = class_aware(joined[0], joined[1], torch.cat([positive, stored]))
        self._store(student.detach(), teacher.detach(), positive)
        return value * (len(positive) + self.size) / len(positive)

    def _allocate(self, student: Float[Tensor, "B L Ds"], teacher: Float[Tensor, "B L Dt"]) -> None:
        if not self.stored:
            labels = student.shape[1]
            self.stored = {
                "student": torch.zeros(self.size, labels, student.shape[2], device=student.device),
                "teacher": torch.zeros(self.size, labels, teacher.shape[2], device=student.device),
                "seen": torch.zeros(labels, dtype=torch.int64, device=student.device),
            }

    def _store(
        self, student: Float[Tensor, "B L Ds"], teacher: Float[Tensor, "B L Dt"], positive: Bool[Tensor, "B L"]
    ) -> None:
        """Overwrite the oldest entries; of more positives than `size`, only the last ones are stored."""
        nth, count = positive.cumsum(0) - 1, positive.sum(0)
        chosen = positive & (nth >= count - self.size)
        image, label = torch.nonzero(chosen, as_tuple=True)
        slot = (self.stored["seen"][label] + nth[image, label]) % self.size
        # new tensors: the graph of a step may still hold the old ones
        for name, new in (("student", student), ("teacher", teacher)):
            old = self.stored[name]
            self.stored[name] = old.index_put((slot, label), new[image, label].to(old))
        self.stored["seen"] = self.stored["seen"] + count
