"""Recent label-wise embeddings of both nets: company for the few positives that a rare label has in a batch."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mlkd.losses.class_aware import class_aware


class Recent:
    """The last `size` positives of each label, as both nets embedded them when they were seen.

    State of a run: `tensors` is saved and `restore` takes it up.  Two positives of a label have no structure by
    themselves; with those kept here they have.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.kept: dict[str, Tensor] = {}  # student (K, L, Ds), teacher (K, L, Dt), seen (L,): how many ever

    def class_aware(
        self,
        student: Float[Tensor, "B L Ds"],
        teacher: Float[Tensor, "B L Dt"],
        positive: Bool[Tensor, "B L"],
    ) -> Float[Tensor, ""]:
        """`losses.class_aware` over the batch and what is kept, per image of the batch; then keeps the batch.

        Only embeddings of the batch carry gradient.  A label that the batch lacks adds nothing.
        """
        self._prepare(student, teacher)
        company = self._filled() & positive.any(0)
        joined = [
            torch.cat([new, self.kept[name].to(new)]) for name, new in (("student", student), ("teacher", teacher))
        ]
        value = class_aware(joined[0], joined[1], torch.cat([positive, company]))
        self._keep(student.detach(), teacher.detach(), positive)
        return value * (len(positive) + self.size) / len(positive)

    def tensors(self) -> dict[str, Tensor]:
        """Everything, by name; nothing before the first batch."""
        return dict(self.kept)

    def restore(self, tensors: dict[str, Tensor], device: torch.device) -> None:
        """Take up what `tensors` gave."""
        self.kept = {name: value.to(device) for name, value in tensors.items()}

    def _prepare(self, student: Float[Tensor, "B L Ds"], teacher: Float[Tensor, "B L Dt"]) -> None:
        if not self.kept:
            labels = student.shape[1]
            self.kept = {
                "student": torch.zeros(self.size, labels, student.shape[2], device=student.device),
                "teacher": torch.zeros(self.size, labels, teacher.shape[2], device=student.device),
                "seen": torch.zeros(labels, dtype=torch.int64, device=student.device),
            }

    def _filled(self) -> Bool[Tensor, "K L"]:
        return torch.arange(self.size, device=self.kept["seen"].device)[:, None] < self.kept["seen"]

    def _keep(
        self, student: Float[Tensor, "B L Ds"], teacher: Float[Tensor, "B L Dt"], positive: Bool[Tensor, "B L"]
    ) -> None:
        """Over the oldest; of more positives than there is room for, the last."""
        nth, count = positive.cumsum(0) - 1, positive.sum(0)
        chosen = positive & (nth >= count - self.size)
        image, label = torch.nonzero(chosen, as_tuple=True)
        place = (self.kept["seen"][label] + nth[image, label]) % self.size
        # new tensors: a step's graph may still hold the old ones
        for name, new in (("student", student), ("teacher", teacher)):
            kept = self.kept[name]
            self.kept[name] = kept.index_put((place, label), new[image, label].to(kept))
        self.kept["seen"] = self.kept["seen"] + count
