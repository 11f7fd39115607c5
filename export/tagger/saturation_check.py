"""Whether an int8 engine's scores are off because this processor's kernels saturate, and not for another reason."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from export.backends import Backend, OnnxRuntime, OpenVino, Session, stamp
from export.backends.saturation import saturates
from export.errors import EngineError, MissingRuntimeError
from export.tagger.reference import Limit, Values, largest_difference, mean_difference

CAUSE = "saturation"
WITHOUT_VNNI = ("avx512f", "avx2", "x86_64", "AMD64")  # of export.backends.stamp.instruction_set


def saturation(
    session: Session,
    backend: Backend,
    images: Sequence[NDArray[np.uint8]],
    expected: Values,
    found: Values,
    limit: Limit,
) -> str | None:
    """What to say of an engine that gave `found` instead of the exact scores `expected` because its kernels saturate.

    The proof is made on this processor: the same engine computed in exact arithmetic gives what is expected, within
    `limit`.  `images` are (1, H, W, 3) each.  None where saturation is not the cause.
    """
    if not isinstance(backend, (OnnxRuntime, OpenVino)) or not kernels_saturate():
        return None
    try:
        with backend.open_exact(session.engine) as exact:
            right = limit.allows(expected, np.concatenate([exact(image) for image in images]))
    except (EngineError, MissingRuntimeError):
        return None
    largest = largest_difference(expected, found)
    return describe(largest, mean_difference(expected, found)) if right and largest is not None else None


def describe(largest: float, mean: float, *, blamed: bool = True) -> str:
    """How far scores are from those of exact arithmetic, `blamed` on kernels that saturate."""
    blame = "this processor's int8 kernels saturate (x86 without VNNI): " if blamed else ""
    return f"{blame}scores differ from exact arithmetic by up to {largest:.2g} (mean {mean:.2g})"


def kernels_saturate() -> bool:
    """Whether int8 products saturate here: computed by ONNX Runtime, without it known from the instruction set."""
    try:
        return saturates()
    except ImportError:
        return stamp.instruction_set() in WITHOUT_VNNI
