"""Nets that the export is held to, students and teachers of every family, and how to make random weights tell."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mlkd.core.labels import Labels
from mlkd.models.heads import Head
from mlkd.models.network import Model, TaggerNet

NETS = (
    "mobilenetv2_100",
    "mobilenetv3_small_100",
    "mobilenetv4_conv_small_050",
    "mobilenetv4_conv_small",
    "mobilenetv4_hybrid_medium",
    "tf_efficientnet_lite0",
    "efficientnet_b0",
    "tinynet_e",
    "lcnet_050",
    "hgnetv2_b0",
    "ghostnet_100",
    "repvgg_a0",
    "mobileone_s0",
    "repvit_m0_9",
    "fastvit_t8",
    "starnet_s1",
    "resnet18",
    "resnet50",
    "regnetx_002",
    "regnety_002",
    "convnext_atto",
    "edgenext_xx_small",
    "efficientvit_b0",
    "efficientvit_m0",
    "mobilevitv2_050",
    "shvit_s1",
    "swiftformer_xs",
    "tiny_vit_5m_224",
    "pvt_v2_b0",
    "vit_tiny_patch16_224",
    "swin_tiny_patch4_window7_224",
)
PX = 64
SPREAD = 0.3  # of logits: at 1, rounding alone moves MobileOne by 9e-5
LABELS = Labels(("red", "green", "blue", "top", "middle"))


def pictures(count: int) -> NDArray[np.uint8]:
    """(count, PX, PX, 3): a slope from one colour to another with four boxes on it."""
    random = np.random.default_rng(0)
    corners = random.uniform(0, 255, (2, count, 1, 1, 3))
    slope = np.linspace(0, 1, PX)[None, :, None, None]
    drawn = corners[0] * slope + corners[1] * (1 - slope) + np.zeros((1, 1, PX, 1))
    for picture in drawn:
        for top, left, high, wide in random.integers((0, 0, 8, 8), PX // 2, (4, 4)):
            picture[top : top + high, left : left + wide] = random.uniform(0, 255, 3)
    return drawn.round().astype(np.uint8)


def tagger(backbone: str, head: Head, images: NDArray[np.uint8]) -> TaggerNet:
    """Random weights that show every fault: nothing is multiplied by nearly zero, and the pictures score differently.

    New nets have such factors (layer scales, the last normalisation of a block), and statistics that suit no picture.
    """
    torch.manual_seed(0)
    module = Model(backbone=backbone, image_px=PX, head=head).build(len(LABELS)).eval()
    for parameter in module.parameters():
        if parameter.abs().max() < 1e-2:
            nn.init.normal_(parameter, std=0.3)
    settle(module, images)
    for norm in _norms(
        module
    ):  # a channel that is dead on these pictures would have rounding errors grow a hundredfold
        norm.running_var.clamp_(min=0.01 * float(norm.running_var.mean()))
    return _spread(module, torch.from_numpy(images))


def settle(module: TaggerNet, images: NDArray[np.uint8]) -> None:
    """Give the batch-norms the statistics of these pictures."""
    for norm in _norms(module):
        norm.momentum = 1.0
        norm.train()
    with torch.no_grad():
        module(torch.from_numpy(images))
    module.eval()


def _norms(module: nn.Module) -> list[Any]:
    return [part for part in module.modules() if isinstance(part, _BatchNorm)]


def _spread(module: TaggerNet, images: torch.Tensor) -> TaggerNet:
    """Scale the weights of every label so that its logits over `images` have mean 0 and standard deviation SPREAD."""
    head = module.head
    with torch.no_grad():
        spread, middle = torch.std_mean(module(images).logits - head.label_bias, dim=0)
        head.label_weight *= SPREAD / spread[:, None]
        head.label_bias.copy_(-middle * SPREAD / spread)
    return module
