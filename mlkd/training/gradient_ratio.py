"""How large the gradient of a loss is beside that of another, where both reach the student: in its backbone."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from mlkd.models import checkpoint
from mlkd.training.trainer import TrainingRun

BATCHES = 8


def gradient_ratio(run: TrainingRun, weights: Path, against: Collection[str], batches: int = BATCHES) -> float:
    """Return the norm of the gradient of all other losses together over that of the losses `against`.

    Norms are those of the gradient in the trained parameters of the backbone, which every loss reaches, of a batch as
    it is trained with; both are averaged over batches.

    Args:
        run: A training with all the losses, at its first step.
        weights: Folder of a trained model, at which the gradients are taken.
        against: Kinds of losses.
        batches: How many batches of the first epoch are averaged.

    Raises:
        ValueError: One of the two has no gradient there.
    """
    tensors, _ = checkpoint.read(weights / checkpoint.BEST)
    run.tagger.load_state_dict(tensors)
    run.module.train()
    parameters = [tensor for tensor in run.tagger.backbone.parameters() if tensor.requires_grad]
    norms = {True: 0.0, False: 0.0}
    torch.manual_seed(run.seed)  # of dropout
    for rows, images in islice(run.batches(0), batches):
        terms = run.terms(0, rows, images)
        for is_against in norms:
            chosen = {kind: term for kind, term in terms.items() if (kind in against) == is_against}
            norms[is_against] += _norm(chosen, parameters)
    if not 0 < norms[True] * norms[False] < float("inf"):
        names = ", ".join(loss.kind for loss in run.training.losses)
        raise ValueError(
            f"gradients of {names}: expected norms above 0 in the backbone, got {norms[False]:g} and {norms[True]:g}"
        )
    return norms[False] / norms[True]


def _norm(terms: Mapping[str, Tensor], parameters: Collection[Tensor]) -> float:
    """The norm of the gradient of the sum."""
    total = sum(terms.values())
    assert isinstance(total, Tensor), "there is at least one term"
    gradients = torch.autograd.grad(total, list(parameters), retain_graph=True, allow_unused=True)
    squares = [gradient.square().sum() for gradient in gradients if gradient is not None]
    return float(torch.stack(squares).sum().sqrt()) if squares else 0.0
