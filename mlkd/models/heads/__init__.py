"""Heads that give every label its own embedding."""

from mlkd.models.heads.label_decoder import LabelDecoder

Head = LabelDecoder

__all__ = ["Head", "LabelDecoder"]
