"""Taggers: a timm backbone with a label-wise head."""
