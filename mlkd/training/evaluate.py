"""Scores of a tagger for many images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mlkd.data.prepared import Split
from mlkd.models.checkpoint import load_model
from mlkd.models.network import TaggerNet


def scores(model: TaggerNet, pixels: NDArray[np.uint8], batch_size: int = 64) -> NDArray[np.float32]:
    """Sigmoid scores (N, L) of uint8 pixels (N, H, W, 3), computed in eval mode; the mode is restored."""
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    parts: list[NDArray[np.float32]] = []
    with torch.inference_mode():
        for start in range(0, len(pixels), batch_size):
            batch = torch.from_numpy(np.array(pixels[start : start + batch_size])).to(device)
            parts.append(model(batch).logits.float().sigmoid().cpu().numpy())
    model.train(was_training)
    return np.concatenate(parts)


def score_folder(folder: Path, split: Split) -> NDArray[np.float32]:
    """Scores (N, L) of the tagger of a finished training stage for a split, on CUDA where available."""
    tagger = load_model(folder).to("cuda" if torch.cuda.is_available() else "cpu")
    return scores(tagger, split.pixels(tagger.image_px))
