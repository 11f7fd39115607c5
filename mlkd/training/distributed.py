"""The batch of all processes in data-parallel training, for losses that compare images with each other."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, distributed

from mlkd.losses.base import LossInputs, Need
from mlkd.models.outputs import Outputs


def gather(inputs: LossInputs, needs: Collection[Need] = ("embeddings", "pooled")) -> LossInputs:
    """The images of all processes in order of rank; the inputs themselves where there is only one process.

    Each process has to call it with equally many images, compute the same loss of the result, and average the gradients
    of its parameters over processes, as DistributedDataParallel does: they are then those of one process with the whole
    batch.  No gradient reaches the teacher.

    `needs` are outputs to gather besides the logits, of those that both student and teacher have, without maps.
    Embeddings of negatives are gathered too: N x L x D numbers each for student, gradient and teacher.
    """
    if not distributed.is_available() or not distributed.is_initialized() or distributed.get_world_size() == 1:
        return inputs
    student, teacher, targets, label_mask = inputs
    logits = _gather_both(student.logits, teacher.logits)
    embeddings = _gather_both(student.embeddings, teacher.embeddings) if "embeddings" in needs else (None, None)
    pooled = _gather_both(student.pooled, teacher.pooled) if "pooled" in needs else (None, None)
    of_student, of_teacher = (Outputs(*tensors) for tensors in zip(logits, embeddings, pooled, strict=True))
    of_all = None if label_mask is None else _Gather.apply(label_mask)
    return LossInputs(of_student, of_teacher, _Gather.apply(targets), of_all)


def _gather_both(student: Tensor | None, teacher: Tensor | None) -> tuple[Any, Any]:
    if student is None or teacher is None:
        return None, None
    return _Gather.apply(student), _Gather.apply(teacher.detach())


class _Gather(torch.autograd.Function):
    """The rows of all processes; the backward pass exchanges nothing, so no process waits for another."""

    @staticmethod
    def forward(ctx: Any, rows: Shaped[Tensor, "B ..."]) -> Shaped[Tensor, "N ..."]:
        ctx.rank, ctx.processes = distributed.get_rank(), distributed.get_world_size()
        gathered = rows.new_empty(ctx.processes * len(rows), *rows.shape[1:])
        distributed.all_gather_into_tensor(gathered, rows.contiguous())
        return gathered

    @staticmethod
    def backward(ctx: Any, gradient: Float[Tensor, "N ..."]) -> Float[Tensor, "B ..."]:
        # each process holds the gradient of the whole loss, and averaging will divide it by their number
        own: Tensor = gradient.chunk(ctx.processes)[ctx.rank] * ctx.processes
        return own
