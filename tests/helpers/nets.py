"""Random weights that show every fault of an export, and the images for them."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mlkd.core.labels import Labels
from mlkd.models.batch_norms import batch_norms, settle
from mlkd.models.config import Model
from mlkd.models.heads import Head
from mlkd.models.network import TaggerNet

PX = 64
SPREAD = 0.3  # of logits: at 1, rounding alone moves MobileOne by 9e-5
LABELS = Labels(("red", "green", "blue", "top", "middle"))


def images(count: int) -> NDArray[np.uint8]:
    """(count, PX, PX, 3): a slope from one colour to another with four boxes on it."""
    random = np.random.default_rng(0)
    corners = random.uniform(0, 255, (2, count, 1, 1, 3))
    slope = np.linspace(0, 1, PX)[None, :, None, None]
    drawn = corners[0] * slope + corners[1] * (1 - slope) + np.zeros((1, 1, PX, 1))
    for image in drawn:
        for top, left, high, wide in random.integers((0, 0, 8, 8), PX // 2, (4, 4)):
            image[top : top + high, left : left + wide] = random.uniform(0, 255, 3)
    return drawn.round().astype(np.uint8)


def tagger(backbone: str, head: Head, images: NDArray[np.uint8]) -> TaggerNet:
    """Random weights that show every fault: nothing is multiplied by nearly zero, and the images score differently.

    New nets have such factors (layer scales, the last normalization of a block), and statistics that suit no image.
    """
    torch.manual_seed(0)
    module = Model(backbone=backbone, image_px=PX, head=head).build(len(LABELS)).eval()
    for parameter in module.parameters():
        if parameter.abs().max() < 1e-2:
            nn.init.normal_(parameter, std=0.3)
    settle(module, images)
    for norm in batch_norms(
        module
    ):  # a channel that is dead on these images would have rounding errors grow a hundredfold
        norm.running_var.clamp_(min=0.01 * float(norm.running_var.mean()))
    return _spread(module, torch.from_numpy(images))


def _spread(module: TaggerNet, images: torch.Tensor) -> TaggerNet:
    """Scale the weights of every label so that its logits over `images` have mean 0 and standard deviation SPREAD."""
    head = module.head
    with torch.no_grad():
        spread, middle = torch.std_mean(module(images).logits - head.label_bias, dim=0)
        head.label_weight *= SPREAD / spread[:, None]
        head.label_bias.copy_(-middle * SPREAD / spread)
    return module
