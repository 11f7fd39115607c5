"""OpenVINO: an .xml with its .bin beside it is the engine."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from export.backends.base import EngineRefused, MissingRuntime, Ran, Session, check_file

CAPABILITIES = {"f32": "FP32", "bf16": "BF16", "f16": "FP16"}
COMPUTES = {"f32": "f32", "bf16": "bf16", "f16": "f16", "i8": "int8", "u8": "int8"}
PRODUCTS = ("Convolution", "FullyConnected", "MatMul", "ScaledDotProductAttention", "Deconvolution")


@dataclass(frozen=True, kw_only=True)
class OpenVino:
    """`device` is OpenVINO's own word (CPU, GPU, NPU, AUTO); `compute` is what it computes float products in."""

    kind: Literal["openvino"] = "openvino"
    device: str = "CPU"
    threads: int = 1
    compute: Literal["f32", "bf16", "f16"] = "f32"

    def __post_init__(self) -> None:
        if self.compute not in CAPABILITIES:
            raise ValueError(f"openvino.compute: expected one of {', '.join(CAPABILITIES)}, got {self.compute!r}")
        if self.threads < 1:
            raise ValueError(f"openvino.threads: expected at least 1, got {self.threads}")

    def compile(self, model: Path, out_dir: Path) -> Path:
        """Write an .onnx or .xml as .xml and .bin, weights as they are (the runtime's default would halve them)."""
        import openvino

        check_file(model, (".onnx", ".xml"), "OpenVINO")
        network = _read(openvino.Core(), model)
        out_dir.mkdir(parents=True, exist_ok=True)
        engine = out_dir / f"{model.stem}.xml"
        openvino.save_model(network, str(engine), compress_to_fp16=False)
        return engine

    def open(self, engine: Path) -> Session:
        """Open on the device and in the precision asked for; EngineRefused for any other file or interface."""
        check_file(engine, (".xml",), "OpenVINO")
        reason = self.missing()
        if reason is not None:
            raise MissingRuntime(reason)
        return _OpenVinoSession(engine, self)

    def missing(self) -> str | None:
        """Why it cannot run here."""
        try:
            import openvino
        except ImportError:
            return "openvino: expected the package openvino, got none; pip install openvino"
        core = openvino.Core()
        asked, there = self.device.split(":")[0].split(".")[0], core.available_devices
        if asked != "AUTO" and asked not in {device.split(".")[0] for device in there}:
            return f"openvino: expected the device {self.device}, got {there}; choose one of these"
        if asked == "AUTO":
            return None
        able = core.get_property(self.device, "OPTIMIZATION_CAPABILITIES")
        if CAPABILITIES[self.compute] not in able:
            return f"openvino: expected a {self.device} that computes {self.compute}, got {able}; choose f32"
        return None

    def files(self, engine: Path) -> tuple[Path, ...]:
        """The .xml and its weights."""
        return (engine, engine.with_suffix(".bin"))


class _OpenVinoSession(Session):
    def __init__(self, engine: Path, backend: OpenVino) -> None:
        import openvino

        core = openvino.Core()
        network = _read(core, engine)
        compiled = core.compile_model(network, backend.device, _settings(backend))
        ran = Ran(
            provider="openvino",
            device=", ".join(compiled.get_property("EXECUTION_DEVICES")),
            compute=_compute(engine, compiled, backend),
            version=f"openvino {openvino.__version__.split('-')[0]}",
        )
        super().__init__(engine, ran, _picture(engine, network))
        self._request = compiled.create_infer_request()

    def _run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        shared = self._request.infer([images], share_inputs=True, share_outputs=True)[0]
        return np.array(shared, dtype=np.float32)  # the request reuses its output

    def _release(self) -> None:
        del self._request


def _read(core: Any, model: Path) -> Any:
    if model.suffix == ".xml":
        _check_ir(model)
    try:
        return core.read_model(str(model))
    except RuntimeError as cause:
        raise EngineRefused(f"{model}: expected a graph for OpenVINO, got: {cause}; export it again") from cause


def _check_ir(model: Path) -> None:
    """EngineRefused for a file that OpenVINO would hand to every other reader it has, each complaining on stderr."""
    with model.open("rb") as stream:
        head = stream.read(256)
    if b"<net" not in head:
        raise EngineRefused(f"{model}: expected OpenVINO's <net …>, got a file that starts with {head[:16]!r}")
    if not model.with_suffix(".bin").is_file():
        raise EngineRefused(f"{model}: expected its weights {model.with_suffix('.bin').name} beside it, got none")


def _settings(backend: OpenVino) -> dict[str, Any]:
    settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": backend.compute}
    if backend.device == "CPU":
        # Its own pinning would override the cores that the caller chose.
        settings |= {"INFERENCE_NUM_THREADS": backend.threads, "NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False}
    return settings


def _compute(engine: Path, compiled: Any, backend: OpenVino) -> str:
    """What most products run in, from the execution graph; MissingRuntime if floats do not run as asked."""
    info = [node.get_rt_info() for node in compiled.get_runtime_model().get_ordered_ops()]
    layers = [(_text(one["layerType"]), _text(one["runtimePrecision"])) for one in info if "layerType" in one]
    products = Counter(COMPUTES.get(precision, precision) for layer, precision in layers if layer in PRODUCTS)
    floats = set(products) - {"int8"}
    if floats and backend.compute not in floats:
        raise MissingRuntime(
            f"{engine.name}: expected float products in {backend.compute}, got {sorted(floats)}; choose another compute"
        )
    return products.most_common(1)[0][0] if products else backend.compute


def _text(value: Any) -> str:
    return str(value.astype(str)) if hasattr(value, "astype") else str(value)


def _picture(engine: Path, network: Any) -> tuple[int, ...]:
    ports = (*network.inputs, *network.outputs)
    got = [(port.get_element_type().get_type_name(), str(port.get_partial_shape())) for port in ports]
    shape = list(network.inputs[0].get_partial_shape()) if network.inputs else []
    pictures = len(shape) == 4 and all(side.is_static for side in shape[1:]) and shape[3].get_length() == 3
    if [kind for kind, _ in got] != ["u8", "f32"] or not pictures:
        raise EngineRefused(f"{engine}: expected uint8 (batch, H, W, 3) to float scores (batch, L), got {got}")
    return tuple(side.get_length() for side in shape[1:])
