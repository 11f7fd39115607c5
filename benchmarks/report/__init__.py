"""Rows in, report.json, report.md and one self-contained report.html out."""

from benchmarks.report.render import render

__all__ = ["render"]
