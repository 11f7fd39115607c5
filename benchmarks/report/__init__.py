"""Rows in; report.json, report.md, one self-contained report.html and the model card out."""

from benchmarks.report.model_card import CARD, write_card
from benchmarks.report.render import render

__all__ = ["CARD", "render", "write_card"]
