"""Label decoder: one cross-attention layer with a query per label."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import dropout, scaled_dot_product_attention

from mlkd.models.heads.config import LabelDecoder
from mlkd.models.outputs import Outputs


class LabelDecoderHead(nn.Module):
    """Tokens (B, N, C) to logits (B, L) and label-wise embeddings (B, L, D).  Yang et al. 2023, sec. 3."""

    PER_LABEL = ("queries", "label_weight", "label_bias")  # tensors with a row for each label

    def __init__(self, config: LabelDecoder, channels: int, labels: int) -> None:
        super().__init__()
        width = config.embedding
        self.heads = config.heads
        self.queries = nn.Parameter(torch.randn(labels, width), requires_grad=config.learned_queries)
        self.query_norm = nn.LayerNorm(width)
        self.project_query = nn.Linear(width, width)
        self.project_tokens = nn.Linear(channels, width)
        self.project_key = nn.Linear(width, width)
        self.project_value = nn.Linear(width, width)
        self.project_out = nn.Linear(width, width)
        self.attention_norm = nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, config.feed_forward),
            nn.ReLU(),
            nn.Identity(),  # keeps the names of the tensors in older checkpoints
            nn.Linear(config.feed_forward, width),
        )
        self.output_norm = nn.LayerNorm(width)
        self.dropout = config.dropout
        self.label_weight = nn.Parameter(torch.randn(labels, width) * width**-0.5)
        self.label_bias = nn.Parameter(torch.full((labels,), -2.0))  # most labels are absent from most images

    def forward(self, tokens: Float[Tensor, "B N C"]) -> Outputs:
        queries = self.query_norm(self.queries)
        memory = self.project_tokens(tokens).relu()
        attended = self._attend(self.project_query(queries), memory)
        embeddings = self._embed(queries, attended, noise=0.0)
        noisy = self.training and self.dropout > 0
        # Dropout masks change distances between embeddings more than training does: structural losses get embeddings
        # without dropout.
        dropped = self._embed(queries, attended, noise=self.dropout) if noisy else embeddings
        logits = (dropped * self.label_weight).sum(-1) + self.label_bias
        return Outputs(logits=logits, embeddings=embeddings)

    def label_maps(self, tokens: Float[Tensor, "B N C"]) -> Float[Tensor, "B L N"]:
        """The logits if all attention of all heads were on one position, without dropout."""
        queries = self.query_norm(self.queries)
        memory = self.project_tokens(tokens).relu()
        values = self.project_out(self.project_value(memory))
        maps = []
        for position in values.unbind(1):  # one at a time: all of them need memory for B * N * L rows
            embeddings = self._embed(queries, position[:, None].expand(-1, len(queries), -1), noise=0.0)
            maps.append((embeddings * self.label_weight).sum(-1) + self.label_bias)
        return torch.stack(maps, -1)

    def _embed(
        self, queries: Float[Tensor, "L D"], attended: Float[Tensor, "B L D"], *, noise: float
    ) -> Float[Tensor, "B L D"]:
        """Label-wise embeddings, with dropout of probability `noise`."""
        x = self.attention_norm(queries + dropout(attended, noise))
        first, relu, _, last = self.feed_forward
        embeddings: Tensor = self.output_norm(x + dropout(last(dropout(relu(first(x)), noise)), noise))
        return embeddings

    def _attend(self, queries: Float[Tensor, "L D"], memory: Float[Tensor, "B N D"]) -> Float[Tensor, "B L D"]:
        batch, width = memory.shape[0], memory.shape[2]
        q = queries.view(1, -1, self.heads, width // self.heads).transpose(1, 2).expand(batch, -1, -1, -1)
        k = self.project_key(memory).unflatten(2, (self.heads, -1)).transpose(1, 2)
        v = self.project_value(memory).unflatten(2, (self.heads, -1)).transpose(1, 2)
        attended: Tensor = scaled_dot_product_attention(q, k, v)
        out: Tensor = self.project_out(attended.transpose(1, 2).flatten(2))
        return out
