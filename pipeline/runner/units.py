"""Seconds and bytes as text."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Format seconds."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def size(count: float) -> str:
    """Format a number of bytes."""
    return f"{count / 1e6:.1f} MB" if count < 1e9 else f"{count / 1e9:.1f} GB"
