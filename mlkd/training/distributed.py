"""The global batch of data-parallel training, for losses that compare images with each other."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, distributed

from mlkd.losses.base import Need
from mlkd.models.outputs import Outputs


def gathered(
    student: Outputs,
    teacher: Outputs,
    targets: Float[Tensor, "B L"],
    label_mask: Bool[Tensor, "B L"] | None,
    needs: Collection[Need] = ("embeddings", "pooled"),
) -> tuple[Outputs, Outputs, Float[Tensor, "N L"], Bool[Tensor, "N L"] | None]:
    """The N images of all processes in order of rank; what was given where there is only one process.

    Every process calls it with equally many images, computes the same loss of what it gets, and has its parameters'
    gradients averaged over the processes, as DistributedDataParallel does: they are then those of one process with the
    whole batch.  No gradient reaches the teacher.  Stage maps, what is not among `needs`, and what only one of student
    and teacher has, are left out.  Embeddings come whole, positives or not: N x L x D numbers for the student, as many
    for its gradient, and N x L x D for the teacher.
    """
    if not distributed.is_available() or not distributed.is_initialized() or distributed.get_world_size() == 1:
        return student, teacher, targets, label_mask
    logits = _both(student.logits, teacher.logits)
    embeddings = _both(student.embeddings, teacher.embeddings) if "embeddings" in needs else (None, None)
    pooled = _both(student.pooled, teacher.pooled) if "pooled" in needs else (None, None)
    everyone_s, everyone_t = (Outputs(*one) for one in zip(logits, embeddings, pooled, strict=True))
    return everyone_s, everyone_t, _gather(targets), None if label_mask is None else _gather(label_mask)


def _both(student: Tensor | None, teacher: Tensor | None) -> tuple[Any, Any]:
    if student is None or teacher is None:
        return None, None
    return _gather(student), _gather(teacher.detach())


def _gather(rows: Shaped[Tensor, "B ..."]) -> Shaped[Tensor, "N ..."]:
    everyone: Tensor = _Gather.apply(rows)
    return everyone


class _Gather(torch.autograd.Function):
    """All processes' rows; nothing is exchanged on the way back, so a process can neither wait nor be waited for."""

    @staticmethod
    def forward(ctx: Any, rows: Shaped[Tensor, "B ..."]) -> Shaped[Tensor, "N ..."]:
        ctx.rank, ctx.processes = distributed.get_rank(), distributed.get_world_size()
        everyone = rows.new_empty(ctx.processes * len(rows), *rows.shape[1:])
        distributed.all_gather_into_tensor(everyone, rows.contiguous())
        return everyone

    @staticmethod
    def backward(ctx: Any, gradient: Float[Tensor, "N ..."]) -> Float[Tensor, "B ..."]:
        # every process holds the whole loss's gradient, and the mean over processes will divide it by their number
        mine: Tensor = gradient.chunk(ctx.processes)[ctx.rank] * ctx.processes
        return mine
