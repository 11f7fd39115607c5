"""Taggers with random weights, saved as a training run saves its best one."""

from dataclasses import replace
from pathlib import Path

import torch

from mlkd.core.labels import Labels
from mlkd.models import checkpoint
from mlkd.models.config import Model
from mlkd.models.heads import LabelDecoder

MODEL = Model(backbone="test_resnet", image_px=32, head=LabelDecoder(embedding=8, heads=2, feed_forward=8))


def save(folder: Path, labels: Labels, *, seed: int = 0, image_px: int = 32, bias: float = -2.0) -> Path:
    """The folder with best.safetensors; `bias` moves all logits."""
    torch.manual_seed(seed)
    model = replace(MODEL, image_px=image_px)
    tagger = model.build(len(labels))
    with torch.no_grad():
        tagger.head.label_bias.fill_(bias)
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint.save_model(folder / checkpoint.BEST, tagger.state_dict(), model, labels, {})
    return folder
