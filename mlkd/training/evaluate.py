"""Scores of a tagger for many images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mlkd.data.loader import in_order, scored_at_once
from mlkd.data.prepared import Split
from mlkd.models.checkpoint import load_model
from mlkd.models.folded import fold_batch_norms
from mlkd.models.network import TaggerNet


def scores(model: TaggerNet, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Sigmoid scores (N, L) of uint8 pixels (N, H, W, 3), computed in eval mode; the model stays as it is."""
    model, device = fold_batch_norms(model), model.mean.device
    at_once = scored_at_once(model.image_px, cuda=device.type == "cuda")
    parts: list[NDArray[np.float32]] = []
    with torch.inference_mode():
        for rows in in_order(pixels, at_once):
            batch = torch.from_numpy(np.array(pixels[rows.start : rows.stop])).to(device)
            parts.append(model(batch).logits.float().sigmoid().cpu().numpy())
    return np.concatenate(parts)


def score_folder(folder: Path, split: Split) -> NDArray[np.float32]:
    """Scores (N, L) of the tagger of a finished training stage for a split, on CUDA where available."""
    tagger = load_model(folder).to("cuda" if torch.cuda.is_available() else "cpu")
    return scores(tagger, split.pixels(tagger.image_px))
