"""Batch norms of a model that was not trained, or only briefly."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.modules.batchnorm import _BatchNorm

from mlkd.models.network import TaggerNet


def batch_norms(tagger: TaggerNet) -> list[_BatchNorm]:
    """Return all batch norms of a model."""
    return [module for module in tagger.modules() if isinstance(module, _BatchNorm)]


def settle(tagger: TaggerNet, pixels: NDArray[np.uint8]) -> None:
    """Set the statistics of all batch norms to those of `pixels` (B, H, W, 3), and the model to eval mode."""
    for norm in batch_norms(tagger):
        norm.momentum = 1.0
        norm.train()
    with torch.no_grad():
        tagger(torch.from_numpy(pixels))
    tagger.eval()
