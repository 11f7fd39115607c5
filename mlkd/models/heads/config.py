"""Configurations of the heads; their modules lie in the files of their kinds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class LabelDecoder:
    """Decoder head; the published one has embedding 768, heads 8, feed_forward 2048 and frozen queries."""

    kind: Literal["label_decoder"] = "label_decoder"
    embedding: int = 128
    heads: int = 4
    feed_forward: int = 256
    dropout: float = 0.1
    learned_queries: bool = False

    def __post_init__(self) -> None:
        if self.embedding < 1 or self.heads < 1 or self.embedding % self.heads:
            raise ValueError(
                f"head {self.kind}: embedding: expected a multiple of heads ({self.heads}), got {self.embedding}"
            )
        if self.feed_forward < 1 or not 0 <= self.dropout < 1:
            raise ValueError(
                f"head {self.kind}: expected feed_forward >= 1 and 0 <= dropout < 1, "
                f"got {self.feed_forward} and {self.dropout}"
            )

    def build(self, channels: int, labels: int) -> nn.Module:
        """A head for feature tokens of `channels`."""
        from mlkd.models.heads.label_decoder import LabelDecoderHead

        return LabelDecoderHead(self, channels, labels)


@dataclass(frozen=True, kw_only=True)
class LabelAttention:
    """A head with far fewer operations than a decoder: two 1x1 convolutions, one softmax, one matrix product."""

    kind: Literal["label_attention"] = "label_attention"
    embedding: int = 128

    def __post_init__(self) -> None:
        if self.embedding < 1:
            raise ValueError(f"head {self.kind}: embedding: expected at least 1, got {self.embedding}")

    def build(self, channels: int, labels: int) -> nn.Module:
        """A head for feature tokens of `channels`."""
        from mlkd.models.heads.label_attention import LabelAttentionHead

        return LabelAttentionHead(self, channels, labels)


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """Average pooling and one linear layer, without hyper-parameters."""

    kind: Literal["pooled"] = "pooled"

    def build(self, channels: int, labels: int) -> nn.Module:
        """A head for feature tokens of `channels`."""
        from mlkd.models.heads.pooled import PooledHead

        return PooledHead(channels, labels)


Head = LabelDecoder | LabelAttention | Pooled
