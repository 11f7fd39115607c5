"""Taggers: a timm backbone with a label-wise head."""

from mlkd.models.tagger import Model, Tagger

__all__ = ["Model", "Tagger"]
