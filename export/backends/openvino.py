"""OpenVINO, whose engine is an .xml file with its .bin beside it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from export.backends import host, openvino_layers, runtime_import, stamp
from export.backends.base import (
    RuntimeInfo,
    Session,
    atomic_output,
    check_file,
    check_stamp,
    check_threads,
    disk_full_error,
    require_float_products,
)
from export.errors import EngineError, MissingRuntimeError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CAPABILITIES = {"f32": "FP32", "bf16": "BF16", "f16": "FP16"}
EXACT = "LP_TRANSFORMS_MODE"  # without low-precision transformations products stay in float
DEVICE = re.compile(r"(?:(AUTO|HETERO):)?([A-Z]+(?:\.\d+)?(?:,[A-Z]+(?:\.\d+)?)*)")


@dataclass(frozen=True, kw_only=True)
class OpenVino:
    """OpenVINO on one device or several."""

    kind: Literal["openvino"] = "openvino"
    device: str = "CPU"  # CPU, GPU, GPU.1, NPU, AUTO, or AUTO or HETERO with a list such as AUTO:GPU,CPU
    threads: int = 1  # on the CPU, 1 to 1024
    compute: Literal["f32", "bf16", "f16"] = "f32"  # type of float products

    def __post_init__(self) -> None:
        match = DEVICE.fullmatch(self.device)
        if match is None or (match[1] is None and ("," in self.device or self.device == "HETERO")):
            raise ValueError(
                f"openvino.device: expected a device (CPU, GPU, GPU.1, NPU), AUTO, AUTO:GPU,CPU or HETERO:GPU,CPU, "
                f"got {self.device!r}"
            )
        if self.compute not in CAPABILITIES:
            raise ValueError(f"openvino.compute: expected one of {', '.join(CAPABILITIES)}, got {self.compute!r}")
        check_threads(self.kind, self.threads)

    def compile(self, model: Path, out_dir: Path) -> Path:
        """Write an .onnx or .xml as .xml and .bin, without the conversion of weights to fp16 that is the default."""
        check_file(model, (".onnx", ".xml"), "OpenVINO")
        core = _core()
        network = _read(core, model)
        _image(model, network)
        name = f"{model.stem}.xml"
        with atomic_output(out_dir) as folder:
            _save(network, folder / name, out_dir)
            stamp.write(folder / name, self._stamp(model, network))
        return out_dir / name

    def open(self, engine: Path) -> Session:
        """Open on the requested device and in the requested precision; EngineError for any other file or interface."""
        check_file(engine, (".xml",), "OpenVINO")
        check_stamp(engine, self.kind)
        return self.open_graph(engine)

    def open_graph(self, graph: Path) -> OpenVinoSession:
        """Open an .xml or .onnx that has no stamp, otherwise like `open`."""
        return self._open(graph, self.settings())

    def open_exact(self, graph: Path) -> Session:
        """Open an .xml or .onnx on the CPU and compute quantized layers in float: no product saturates on any CPU.

        Raises EngineError if the runtime still multiplies integers.
        """
        cpu = OpenVino(threads=self.threads)
        session = cpu._open(graph, {**cpu.settings(), EXACT: False})
        return require_float_products(
            session, session.integer, f"openvino {_version()} ignores {EXACT}: install another version"
        )

    def _open(self, graph: Path, settings: dict[str, Any]) -> OpenVinoSession:
        check_file(graph, (".xml", ".onnx"), "OpenVINO")
        if (reason := self.unavailable_reason()) is not None:
            raise MissingRuntimeError(reason)
        return OpenVinoSession(graph, self, settings)

    def unavailable_reason(self) -> str | None:
        """Say why OpenVINO cannot run on this machine, and what to do; None if it can."""
        try:
            core = _core()
        except MissingRuntimeError as cause:
            return str(cause)
        available = core.available_devices
        known = {alias for name in available for alias in (name, name.split(".")[0])}
        known |= {f"{name}.0" for name in available if "." not in name and name != "CPU"}  # a single GPU has no number
        for device in self.devices():
            if device not in known:
                return f"openvino: expected the device {device}, got {available}; choose one of these"
            capabilities = core.get_property(device, "OPTIMIZATION_CAPABILITIES")
            is_emulated = (device, self.compute) == ("CPU", "bf16") and not host.computes_bf16()
            if CAPABILITIES[self.compute] not in capabilities or is_emulated:
                return f"openvino: expected a {device} that computes {self.compute}, got {capabilities}; choose f32"
        return None

    def files(self, engine: Path) -> tuple[Path, ...]:
        """The .xml, its weights and its stamp."""
        return (engine, engine.with_suffix(".bin"), stamp.path_of(engine))

    def devices(self) -> tuple[str, ...]:
        """The devices that the field names; none for AUTO alone."""
        return () if self.device == "AUTO" else tuple(self.device.rpartition(":")[2].split(","))

    def settings(self) -> dict[str, Any]:
        """Properties for `compile_model`."""
        settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": self.compute}
        # OpenVINO's pinning would override the cores that the caller chose.
        cpu = {"INFERENCE_NUM_THREADS": self.threads, "NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False}
        if self.device == "CPU":
            return settings | cpu
        if self.device.startswith("AUTO"):
            settings["ENABLE_STARTUP_FALLBACK"] = False  # otherwise the CPU answers while another device compiles
        shared = ":" in self.device and "CPU" in self.devices()
        return settings | ({"DEVICE_PROPERTIES": {"CPU": cpu}} if shared or self.device == "AUTO" else {})

    def _stamp(self, model: Path, network: Any) -> stamp.Stamp:
        is_quantized = any(node.get_type_name() == "FakeQuantize" for node in network.get_ops())  # by NNCF
        ir_precision = "int8_openvino" if is_quantized else "unknown"
        return stamp.Stamp(
            runtime=f"openvino {_version()}",
            device="any",
            precision=stamp.precision_of(model) if model.suffix == ".onnx" else ir_precision,
            options={"compress_to_fp16": False},
            graph=stamp.origin(model),
        )


class OpenVinoSession(Session):
    def __init__(self, engine: Path, backend: OpenVino, settings: dict[str, Any]) -> None:
        core = _core()
        network = _read(core, engine)
        image = _image(engine, network)
        compiled = _compile(core, network, engine, backend.device, settings)
        ran = RuntimeInfo(
            provider="openvino",
            device=", ".join(openvino_layers.devices(engine, compiled, backend.devices())),
            compute=openvino_layers.compute(engine, compiled, backend.compute),
            version=f"openvino {_version()}",
            placed=openvino_layers.placed(core, network, backend.device),
        )
        super().__init__(engine, ran, image)
        self.integer = openvino_layers.integer(compiled)
        self._request = compiled.create_infer_request()
        self._labels = compiled.output(0).partial_shape[1].get_length()
        self._images, self._scores = self._bind(1)

    @property
    def runtime_ms(self) -> float:
        """Latency of the last call by OpenVINO's clock, in ms, without Python and the copies."""
        return float(self._request.latency)

    def _run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        # With openvino 2026.4, passing an array to infer() or copying its outputs costs another 0.1 ms.  infer() runs
        # in this thread; start_async() runs in another, which made two sessions on two cores a quarter slower.
        if len(images) != len(self._images):
            self._images, self._scores = self._bind(len(images))
        self._images[...] = images
        self._request.infer(share_outputs=True)
        return self._scores.copy()

    def _bind(self, batch: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Bind our own memory to input and output."""

        import numpy as np
        import openvino

        images, scores = np.empty((batch, *self.image), np.uint8), np.empty((batch, self._labels), np.float32)
        self._request.set_input_tensor(openvino.Tensor(images, shared_memory=True))
        self._request.set_output_tensor(openvino.Tensor(scores, shared_memory=True))
        return images, scores

    def _release(self) -> None:
        del self._request


def _core() -> Any:
    return runtime_import.require_module("openvino", "openvino").Core()


def _version() -> str:
    import openvino

    return str(openvino.__version__.split("-")[0])


def _read(core: Any, model: Path) -> Any:
    if model.suffix == ".xml":
        _check_ir(model)
    try:
        return core.read_model(str(model))
    except RuntimeError as cause:
        unknown = re.search(r"No conversion rule found for operations: (.+)", str(cause))
        got = f"the operators {unknown[1]} (name-opset)" if unknown else str(cause)
        expected = f"operators that openvino {_version()} knows" if unknown else "a graph for OpenVINO"
        raise EngineError(f"{model}: expected {expected}, got {got}; export it again") from cause


def _compile(core: Any, network: Any, engine: Path, device: str, settings: dict[str, Any]) -> Any:
    try:
        return core.compile_model(network, device, settings)
    except RuntimeError as cause:
        raise EngineError(
            f"{engine}: expected a graph that {device} compiles, got: {cause}; choose another device"
        ) from cause


def _check_ir(model: Path) -> None:
    """Raise EngineError for a file that is no IR: OpenVINO would try all its readers, and each writes to stderr."""
    with model.open("rb") as stream:
        head = stream.read(256)
    if b"<net" not in head:
        raise EngineError(f"{model}: expected OpenVINO's <net …>, got a file that starts with {head[:16]!r}")
    if not model.with_suffix(".bin").is_file():
        raise EngineError(f"{model}: expected its weights {model.with_suffix('.bin').name} beside it, got none")


def _save(network: Any, file: Path, out_dir: Path) -> None:
    import openvino

    try:
        openvino.save_model(network, str(file), compress_to_fp16=False)
    except RuntimeError as cause:  # a full disk is only an "iostream error"
        raise disk_full_error(out_dir, cause) from cause


def _image(engine: Path, network: Any) -> tuple[int, ...]:
    ports = (*network.inputs, *network.outputs)
    got = [(port.get_element_type().get_type_name(), str(port.get_partial_shape())) for port in ports]
    shape = list(network.inputs[0].get_partial_shape()) if network.inputs else []
    images = len(shape) == 4 and all(side.is_static for side in shape[1:]) and shape[3].get_length() == 3
    if [kind for kind, _ in got] != ["u8", "f32"] or not images:
        raise EngineError(f"{engine}: expected uint8 (batch, H, W, 3) to float scores (batch, L), got {got}")
    return tuple(side.get_length() for side in shape[1:])
