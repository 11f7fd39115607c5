"""Stamps: a small file beside every engine says from what, with what and for which machine it was built."""

from __future__ import annotations

import dataclasses
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from export.errors import EngineError
from mlkd.core.files import sha256_of
from mlkd.core.json_text import parse_json

# Flag in /proc/cpuinfo -> our name, and numpy's feature (numpy asks the CPU itself) that the flag requires.  The first
# flag that a CPU has decides how fast it computes int8.  All CPUs with AVX-VNNI have GFNI.
INSTRUCTION_SETS = {
    "amx_int8": ("amx_int8", "AVX512VNNI"),
    "avx512_vnni": ("avx512_vnni", "AVX512VNNI"),
    "avx_vnni": ("avx_vnni", "GFNI"),
    "avx512f": ("avx512f", "AVX512F"),
    "avx2": ("avx2", "AVX2"),
    "asimddp": ("neon_dotprod", "ASIMDDP"),
    "asimd": ("neon", "ASIMD"),
}
SAME_IN_NUMPY = frozenset({"avx512_vnni", "avx512f", "avx2", "asimddp", "asimd"})  # the feature is the flag itself
SUFFIX = ".stamp.json"
PRECISION = b"\n\tprecision\x12"  # an entry of the graph's metadata in protobuf; its value follows, length first
AGAIN = "export the bundle again, or rebuild the engine with --rebuild"


@dataclass(frozen=True, kw_only=True)
class Stamp:
    """What an engine depends on."""

    runtime: str  # package and version: "openvino 2026.4.1"
    device: str  # the device it was built for: "any", "CPU", "GPU", "SM86"
    instruction_set: str = field(default_factory=lambda: instruction_set())  # of the CPU it was built on
    os: str = field(default_factory=lambda: os_name())  # "Linux x86_64"
    precision: str  # of the graph: fp32, fp16, int8, ...
    options: dict[str, Any]  # of the builder, as JSON values
    graph: str  # sha256 of the ONNX it was compiled from


def path_of(engine: Path) -> Path:
    """The stamp file of `engine`."""
    return engine.with_name(f"{engine.name}{SUFFIX}")


def write(engine: Path, stamp: Stamp) -> Path:
    """Write the stamp beside `engine`; equal stamps give equal bytes."""
    file = path_of(engine)
    text = json.dumps(dataclasses.asdict(stamp), indent=1, sort_keys=True, allow_nan=False)
    file.write_text(text + "\n", encoding="utf-8", newline="\n")
    return file


def read(engine: Path) -> Stamp:
    """Read the stamp of `engine`; EngineError if it is missing, damaged or has other fields."""
    file = path_of(engine)
    try:
        data = parse_json(file.read_bytes().decode("utf-8"))
    except FileNotFoundError:
        _refuse(engine, f"expected its stamp {file.name} beside it, got none")
    except ValueError as cause:
        _refuse(file, f"expected a stamp in JSON, got: {cause}")
    if not isinstance(data, dict):
        _refuse(file, f"expected a JSON object, got {type(data).__name__}")
    fields = {field.name: dict if field.name == "options" else str for field in dataclasses.fields(Stamp)}
    if data.keys() != fields.keys():
        _refuse(file, f"expected the fields {', '.join(sorted(fields))}, got {', '.join(sorted(data))}")
    for name, kind in fields.items():
        if not isinstance(data[name], kind):
            _refuse(file, f"{name}: expected {kind.__name__}, got {type(data[name]).__name__}")
    return Stamp(**data)


def origin(model: Path) -> str:
    """Hash of the ONNX that `model` is or was made from, which the stamp of an .xml says."""
    if model.suffix == ".xml" and path_of(model).is_file():
        return read(model).graph
    return sha256_of(model)


def precision_of(model: Path) -> str:
    """The precision in an ONNX graph's metadata, or "unknown"; read without the package onnx."""
    _, key, rest = model.read_bytes().rpartition(PRECISION)  # the metadata is at the end, behind the weights
    length = rest[0] if key and rest else 0
    value = rest[1 : 1 + length]
    is_whole = 0 < length == len(value) < 128  # a longer one has a length of two bytes
    try:
        return value.decode() if is_whole else "unknown"
    except UnicodeDecodeError:
        return "unknown"


def os_name() -> str:
    """System and architecture: "Linux x86_64"."""
    return f"{platform.system()} {platform.machine()}"


def instruction_set(root: Path = Path("/"), features: Mapping[str, bool] | None = None) -> str:
    """The instruction set that decides how fast int8 runs; the architecture where it is unknown.

    `features` are numpy's, which are right under emulation, where /proc/cpuinfo is that of the host.
    """
    numpy_features = _cpu_features() if features is None and root == Path("/") else features or {}
    try:
        lines = (root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "").partition(":")[2].split()
    for flag, (name, feature) in INSTRUCTION_SETS.items():
        if numpy_features.get(feature, flag in flags) and (flag in flags or flag in SAME_IN_NUMPY):
            return name
    return platform.machine()


def _cpu_features() -> Mapping[str, bool]:
    """CPU features by numpy; empty for a numpy that stores them elsewhere."""
    import importlib

    for name in ("numpy._core._multiarray_umath", "numpy.core._multiarray_umath"):
        try:
            features: Mapping[str, bool] = importlib.import_module(name).__cpu_features__
        except (ImportError, AttributeError):
            continue
        return features
    return {}


def _refuse(file: Path, problem: str) -> NoReturn:
    raise EngineError(f"{file}: {problem}; {AGAIN}")
