"""Heads that compute an embedding for each label."""

from mlkd.models.heads.config import Head, LabelAttention, LabelDecoder, Pooled

__all__ = ["Head", "LabelAttention", "LabelDecoder", "Pooled"]
