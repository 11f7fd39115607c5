"""Label attention: each label attends to the image by a score map of its own."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mlkd.models.heads.config import LabelAttention
from mlkd.models.outputs import Outputs


class LabelAttentionHead(nn.Module):
    """Tokens (B, N, C) to logits (B, L) and label-wise embeddings (B, L, D), weighted means of projected tokens.

    Score maps are computed from the projected tokens, which costs C / D times less than from the tokens themselves.
    """

    PER_LABEL = ("score_maps.weight", "label_weight", "label_bias")  # tensors with a row for each label

    def __init__(self, config: LabelAttention, channels: int, labels: int) -> None:
        super().__init__()
        width = config.embedding
        self.project_tokens = nn.Linear(channels, width)
        self.score_maps = nn.Linear(width, labels, bias=False)  # the softmax would cancel a bias
        self.label_weight = nn.Parameter(torch.randn(labels, width) * width**-0.5)
        self.label_bias = nn.Parameter(torch.full((labels,), -2.0))  # most labels are absent from most images

    def forward(self, tokens: Float[Tensor, "B N C"]) -> Outputs:
        projected = self.project_tokens(tokens).relu()
        attention = self.score_maps(projected).transpose(1, 2).softmax(-1)
        embeddings = attention @ projected
        logits = (embeddings * self.label_weight).sum(-1) + self.label_bias
        return Outputs(logits=logits, embeddings=embeddings)

    def label_maps(self, tokens: Float[Tensor, "B N C"]) -> Float[Tensor, "B L N"]:
        """The logits if all attention were on one position; those of `forward` are means weighted by attention."""
        projected = self.project_tokens(tokens).relu()
        return nn.functional.linear(projected, self.label_weight, self.label_bias).transpose(1, 2)
