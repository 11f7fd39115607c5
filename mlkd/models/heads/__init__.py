"""Heads that compute an embedding for each label."""

from mlkd.models.heads.label_attention import LabelAttention
from mlkd.models.heads.label_decoder import LabelDecoder
from mlkd.models.heads.pooled import Pooled

Head = LabelDecoder | LabelAttention | Pooled

__all__ = ["Head", "LabelAttention", "LabelDecoder", "Pooled"]
