"""ONNX Runtime: the ONNX file itself is the engine."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from export.backends import cuda
from export.backends.base import EngineRefused, MissingRuntime, Ran, Session, check_file

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
ERRORS_ONLY = 3  # onnxruntime's log severity
# The CPU provider has no fp16 kernels on x86: it casts such a graph back.
COMPUTES = {
    "cpu": {"fp32": "f32", "fp16": "f32", "int8": "int8", "int8_x86": "int8"},
    "cuda": {"fp32": "f32", "fp16": "f16", "int8": "int8"},
}


@dataclass(frozen=True, kw_only=True)
class OnnxRuntime:
    """One provider, asked for and checked; nothing falls back to another."""

    kind: Literal["onnxruntime"] = "onnxruntime"
    device: Literal["cpu", "cuda"] = "cpu"
    threads: int = 1

    def __post_init__(self) -> None:
        if self.device not in PROVIDERS:
            raise ValueError(f"onnxruntime.device: expected one of {', '.join(PROVIDERS)}, got {self.device!r}")
        if self.threads < 1:
            raise ValueError(f"onnxruntime.threads: expected at least 1, got {self.threads}")

    def compile(self, model: Path, out_dir: Path) -> Path:
        """Copy the graph after the runtime has read it: one it cannot read is refused here, not on the device."""
        engine = out_dir / model.name
        out_dir.mkdir(parents=True, exist_ok=True)
        if engine.resolve() != model.resolve():
            shutil.copyfile(model, engine)
        OnnxRuntime(threads=self.threads).open(engine).close()
        return engine

    def open(self, engine: Path) -> Session:
        """Open the graph on the provider asked for; EngineRefused for any other file or interface."""
        check_file(engine, (".onnx",), "ONNX Runtime")
        reason = self.missing()
        if reason is not None:
            raise MissingRuntime(reason)
        return _OnnxRuntimeSession(engine, self, _open(engine, self))

    def missing(self) -> str | None:
        """Why it cannot run here."""
        try:
            import onnxruntime
        except ImportError:
            package = "onnxruntime" if self.device == "cpu" else "onnxruntime-gpu"
            return f"onnxruntime: expected the package {package}, got none; pip install {package}"
        provider = PROVIDERS[self.device]
        if provider not in onnxruntime.get_available_providers():
            return f"onnxruntime: expected a build with {provider}, got one without; pip install onnxruntime-gpu"
        return cuda.missing() if self.device == "cuda" else None

    def files(self, engine: Path) -> tuple[Path, ...]:
        """The one file."""
        return (engine,)


class _OnnxRuntimeSession(Session):
    def __init__(self, engine: Path, backend: OnnxRuntime, session: Any) -> None:
        import onnxruntime

        precision = session.get_modelmeta().custom_metadata_map.get("precision", "")
        ran = Ran(
            provider=session.get_providers()[0],
            device=backend.device,
            compute=COMPUTES[backend.device].get(precision, "as in the graph"),
            version=f"onnxruntime {onnxruntime.__version__}",
        )
        super().__init__(engine, ran, _picture(engine, session))
        self._session = session
        self._input = session.get_inputs()[0].name

    def _run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        scores: NDArray[np.float32] = self._session.run(None, {self._input: images})[0]
        return scores

    def _release(self) -> None:
        del self._session


def _open(engine: Path, backend: OnnxRuntime) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    options.intra_op_num_threads = backend.threads
    options.inter_op_num_threads = 1
    if backend.device == "cuda":
        onnxruntime.preload_dlls()
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    wanted = PROVIDERS[backend.device]
    try:
        session = onnxruntime.InferenceSession(str(engine), options, providers=[wanted])
    except Exception as cause:  # its exceptions share no base class of their own
        raise EngineRefused(f"{engine}: expected a graph for ONNX Runtime, got: {cause}; export it again") from cause
    session.disable_fallback()
    if session.get_providers()[0] != wanted:
        raise MissingRuntime(f"onnxruntime: expected {wanted}, got {session.get_providers()}; check the GPU's driver")
    return session


def _picture(engine: Path, session: Any) -> tuple[int, ...]:
    inputs, outputs = session.get_inputs(), session.get_outputs()
    got = [(tensor.name, tensor.type, tensor.shape) for tensor in (*inputs, *outputs)]
    taggers = len(inputs) == len(outputs) == 1 and [kind for _, kind, _ in got] == ["tensor(uint8)", "tensor(float)"]
    shape = inputs[0].shape if inputs else []
    if not taggers or len(shape) != 4 or shape[3] != 3 or not all(isinstance(side, int) for side in shape[1:]):
        raise EngineRefused(f"{engine}: expected uint8 (batch, H, W, 3) to float scores (batch, L), got {got}")
    return tuple(shape[1:])
