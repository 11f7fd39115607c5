"""A training that diverged: losses or gradients that are not finite, and the error that says so."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

log = logging.getLogger(__name__)

DIVERGED = "diverged.safetensors"
_SHOWN = 8  # names in the error; the log has all


class NonFiniteLossError(RuntimeError):
    """A loss or a gradient became nan or infinite; the message names step, term and images."""


def non_finite(terms: Mapping[str, float]) -> list[str]:
    """Names of the loss terms that are nan or infinite."""
    return [name for name, value in terms.items() if not np.isfinite(value)]


def diverged(step: int, what: str, names: Sequence[str], weights: Path) -> NonFiniteLossError:
    """Log the images of the step and return the error.

    Args:
        step: Number of the step.
        what: What was expected finite, and what came.
        names: Images of the step; none where it happened in another process.
        weights: Where the weights of the step are.
    """
    log.error("images of the step that diverged: %s", ", ".join(names) or "of another process")
    shown = f"on images {', '.join(names[:_SHOWN])}, …" if names else "in another process"
    return NonFiniteLossError(
        f"training step {step}: expected finite {what} {shown}; lower the learning rate or that loss's weight; the "
        f"current weights are in {weights}"
    )
