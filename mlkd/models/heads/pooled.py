"""Pooled: average pooling and one linear layer, the usual head of a classifier."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mlkd.models.outputs import Outputs


class PooledHead(nn.Module):
    """Tokens (B, N, C) to logits (B, L) and label-wise embeddings (B, L, C).

    The embedding of a label is the element-wise product of the pooled features and the weights of the label: the
    contribution of each channel to its logit.
    """

    PER_LABEL = ("label_weight", "label_bias")  # tensors with a row for each label

    def __init__(self, channels: int, labels: int) -> None:
        super().__init__()
        self.label_weight = nn.Parameter(torch.randn(labels, channels) * channels**-0.5)
        self.label_bias = nn.Parameter(torch.full((labels,), -2.0))  # most labels are absent from most images

    def forward(self, tokens: Float[Tensor, "B N C"]) -> Outputs:
        pooled = tokens.mean(1)
        # without the embeddings, so that no (B, L, C) is computed where only logits are used
        logits = nn.functional.linear(pooled, self.label_weight, self.label_bias)
        return Outputs(logits=logits, embeddings=pooled[:, None] * self.label_weight)

    def label_maps(self, tokens: Float[Tensor, "B N C"]) -> Float[Tensor, "B L N"]:
        """The logits of each position on its own; the logits of `forward` are their mean."""
        return nn.functional.linear(tokens, self.label_weight, self.label_bias).transpose(1, 2)
