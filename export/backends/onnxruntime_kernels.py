"""The kernels that ONNX Runtime ran, read from its profile."""

from __future__ import annotations

import errno
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.backends.base import most_common
from export.errors import EngineError

COMPUTES = {"float": "f32", "float16": "f16", "bfloat16": "bf16", "int8": "int8", "uint8": "int8"}
PRODUCTS = ("Conv", "MatMul", "Gemm", "Attention")  # also in QLinearConv, FusedMatMul, QGemm
SHAPES = ("int64", "int32", "bool")  # ONNX Runtime keeps arithmetic on shapes on the CPU
TIMED = "_kernel_time"


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """One run of one node of the optimized graph."""

    name: str
    operator: str
    provider: str
    reads: str  # ONNX's type of the first input: "float", "uint8"
    milliseconds: float

    @property
    def product(self) -> bool:
        """Whether it multiplies tensors."""
        return any(word in self.operator for word in PRODUCTS)


def read_profile(file: Path) -> list[Kernel]:
    """Read the kernels of a profile in the order they ran; OSError for a truncated profile."""
    try:
        events = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as cause:
        raise OSError(
            errno.ENOSPC,
            f"{file.parent}: expected room for the profile of one run, which tells where it ran, got: {cause}; "
            "make room there, or set TMPDIR to another folder",
        ) from cause
    return [_kernel(event) for event in events if event.get("cat") == "Node" and event["name"].endswith(TIMED)]


def compute(kernels: Sequence[Kernel]) -> str:
    """Type of most products; "f32" for an int8 graph whose products run on dequantized tensors."""
    return most_common(COMPUTES.get(kernel.reads, kernel.reads) for kernel in kernels if kernel.product)


def integer(kernels: Sequence[Kernel]) -> list[str]:
    """Names of the products that multiply integers, in the order they ran."""
    return [kernel.name for kernel in kernels if kernel.product and COMPUTES.get(kernel.reads) == "int8"]


def placed(engine: Path, kernels: Sequence[Kernel], provider: str) -> float:
    """Share of the kernels on `provider`, 0..1; EngineError if one elsewhere is not arithmetic on shapes."""
    elsewhere = [kernel for kernel in kernels if kernel.provider != provider]
    strays = [f"{kernel.name} on {kernel.provider}" for kernel in elsewhere if kernel.reads not in SHAPES]
    if strays:
        raise EngineError(
            f"{engine}: expected all nodes on {provider}, got {', '.join(strays[:5])} ({len(strays)} in all); "
            "choose the device cpu, or a graph without these operators"
        )
    return 1 - len(elsewhere) / len(kernels)


def _kernel(event: dict[str, Any]) -> Kernel:
    about = event["args"]
    types = [kind for tensor in about.get("input_type_shape", ()) for kind in tensor]
    return Kernel(
        name=event["name"][: -len(TIMED)],
        operator=about["op_name"],
        provider=about["provider"],
        reads=types[0] if types else "",
        milliseconds=event["dur"] / 1e3,
    )
