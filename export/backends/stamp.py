"""Stamps: a small file beside every engine says from what, with what and for which machine it was built."""

from __future__ import annotations

import dataclasses
import json
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from export.errors import EngineError
from mlkd.core.files import sha256_of

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
METADATA_PROPS = 14  # field of onnx.ModelProto
VARINT, BYTES, FIXED = 0, 2, {1: 8, 5: 4}  # protobuf's wire types
AGAIN = "export the bundle again, or rebuild the engine with --rebuild"


@dataclass(frozen=True, kw_only=True)
class Stamp:
    """What an engine depends on."""

    runtime: str  # package and version: "openvino 2026.4.1"
    device: str  # the device it was built for: "any", "CPU", "GPU", "SM86"
    instruction_set: str  # of the CPU it was built on
    os: str  # "Linux x86_64"
    precision: str  # of the graph: fp32, fp16, int8, ...
    options: dict[str, Any]  # of the builder, as JSON values
    graph: str  # sha256 of the ONNX it was compiled from


def create(*, runtime: str, device: str, precision: str, options: dict[str, Any], graph: str) -> Stamp:
    """Create the stamp of an engine that was built on this machine."""
    return Stamp(
        runtime=runtime,
        device=device,
        instruction_set=instruction_set(),
        os=os_name(),
        precision=precision,
        options=options,
        graph=graph,
    )


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
        data = json.loads(file.read_bytes().decode("utf-8"))
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
    try:
        entries = [dict(_fields(entry)) for number, entry in _fields(model.read_bytes()) if number == METADATA_PROPS]
    except IndexError:  # no protobuf: the runtime will refuse it
        return "unknown"
    return next((entry[2].decode() for entry in entries if entry.get(1) == b"precision" and 2 in entry), "unknown")


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


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and content of the fields of a protobuf message that hold bytes; IndexError for other data."""
    index = 0
    while index < len(message):
        key, index = _varint(message, index)
        kind = key & 7
        if kind == VARINT:
            _, index = _varint(message, index)
        elif kind in FIXED:
            index += FIXED[kind]
        else:
            length, index = _varint(message, index)
            if kind != BYTES or index + length > len(message):
                raise IndexError(f"expected a protobuf message, got a field of kind {kind} with {length} bytes")
            yield key >> 3, message[index : index + length]
            index += length


def _varint(message: bytes, index: int) -> tuple[int, int]:
    value, shift = 0, 0
    while message[index] & 0x80:
        value |= (message[index] & 0x7F) << shift
        index, shift = index + 1, shift + 7
    return value | message[index] << shift, index + 1


def _refuse(file: Path, problem: str) -> NoReturn:
    raise EngineError(f"{file}: {problem}; {AGAIN}")
