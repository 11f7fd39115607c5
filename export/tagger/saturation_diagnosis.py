"""Finds out whether an int8 engine's scores are wrong because the kernels of this processor saturate."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from export.backends import Backend, OnnxRuntime, OpenVino, Session, score_in_batches
from export.backends.saturation_probe import kernels_saturate
from export.errors import EngineError, MissingRuntimeError
from export.tagger.limits import Limit, Values, largest_difference, mean_difference

CAUSE = "saturation"


def saturation(
    session: Session, backend: Backend, pixels: NDArray[np.uint8], expected: Values, actual: Values, limit: Limit
) -> str | None:
    """Describe the difference of the scores (N, L) of images (N, H, W, 3) if saturation is its cause; else None.

    The proof: the engine, computed in exact arithmetic on this processor, gives the `expected` scores within `limit`.
    """
    if not isinstance(backend, (OnnxRuntime, OpenVino)) or not kernels_saturate():
        return None
    try:
        with backend.open_exact(session.engine) as exact:
            is_exact = limit.allows(expected, score_in_batches(exact, pixels, 1))
    except (EngineError, MissingRuntimeError):
        return None
    largest = largest_difference(expected, actual)
    return describe(largest, mean_difference(expected, actual)) if is_exact and largest is not None else None


def describe(largest: float, mean: float, *, blamed: bool = True) -> str:
    """Describe the difference of scores from exact arithmetic; `blamed` names saturation as the cause."""
    cause = "this processor's int8 kernels saturate (x86 without VNNI): " if blamed else ""
    return f"{cause}scores differ from exact arithmetic by up to {largest:.2g} (mean {mean:.2g})"
