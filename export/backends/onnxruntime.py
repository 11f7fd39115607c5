"""ONNX Runtime, whose engine is the ONNX file itself."""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from export.backends import cuda, onnxruntime_kernels, runtime_import, stamp
from export.backends.base import (
    RuntimeInfo,
    Session,
    atomic_output,
    check_file,
    check_stamp,
    check_threads,
    require_float_products,
)
from export.backends.onnxruntime_kernels import Kernel
from export.errors import EngineError, MissingRuntimeError
from mlkd.core.files import sha256_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
ERRORS_ONLY = 3  # onnxruntime's log severity
NO_PROFILE = (
    "expected a temporary folder for the profile of one run, which tells what ran where, got none that takes files; "
    "make room there, or set TMPDIR to another folder"
)
TOO_NEW = {
    "opset": re.compile(r"Opset (\d+) is under development.* till opset (\d+)", re.DOTALL),
    "IR version": re.compile(r"Unsupported model IR version: (\d+), max supported IR version: (\d+)"),
}


@dataclass(frozen=True, kw_only=True)
class OnnxRuntime:
    """ONNX Runtime on one provider; a session that falls back to another provider is refused."""

    kind: Literal["onnxruntime"] = "onnxruntime"
    device: Literal["cpu", "cuda"] = "cpu"
    threads: int = 1  # of one operator, 1 to 1024

    def __post_init__(self) -> None:
        if self.device not in PROVIDERS:
            raise ValueError(f"onnxruntime.device: expected one of {', '.join(PROVIDERS)}, got {self.device!r}")
        check_threads(self.kind, self.threads)

    def compile(self, model: Path, out_dir: Path) -> Path:
        """Run the graph once, so that an unsupported one is refused here and not on the device, then copy it.

        Raises EngineError for a graph that the runtime refuses.
        """
        with OnnxRuntime(threads=self.threads).open_graph(model) as session:
            version = session.runtime_info.version
        engine = out_dir / model.name
        with atomic_output(out_dir) as folder:
            if engine.resolve() != model.resolve():
                shutil.copyfile(model, folder / model.name)
            precision, graph = stamp.precision_of(model), sha256_of(model)  # providers and threads do not change it
            made = stamp.Stamp(runtime=version, device="any", precision=precision, options={}, graph=graph)
            stamp.write(folder / model.name, made)
        return engine

    def open(self, engine: Path) -> Session:
        """Open a stamped graph on the requested provider; EngineError for any other file or interface."""
        check_file(engine, (".onnx",), "ONNX Runtime")
        expected, got = check_stamp(engine, self.kind).graph, sha256_of(engine)
        if expected != got:
            raise EngineError(
                f"{engine}: expected the graph {expected[:12]}… of its stamp, got {got[:12]}…; {stamp.AGAIN}"
            )
        return self.open_graph(engine)

    def open_graph(self, graph: Path) -> Session:
        """Open an ONNX graph that has no stamp, otherwise like `open`."""
        self._check(graph)
        return _OnnxRuntimeSession(graph, self)

    def open_exact(self, graph: Path) -> Session:
        """Open an ONNX graph and compute its Q/DQ in float: rounded like int8, but without saturation on any CPU.

        Raises EngineError if the runtime still multiplies integers.
        """
        self._check(graph)
        session = _OnnxRuntimeSession(graph, self, exact=True)
        if session.kernels is None:
            session.close()
            raise EngineError(f"{graph}: {NO_PROFILE}")
        integer = onnxruntime_kernels.integer(session.kernels)
        return require_float_products(session, integer, "quantize with QuantizeLinear and DequantizeLinear (Q/DQ)")

    def _check(self, graph: Path) -> None:
        check_file(graph, (".onnx",), "ONNX Runtime")
        reason = self.unavailable_reason()
        if reason is not None:
            raise MissingRuntimeError(reason)

    def unavailable_reason(self) -> str | None:
        """Say why ONNX Runtime cannot run on this machine, and what to do; None if it can."""
        try:
            package = "onnxruntime" if self.device == "cpu" else "onnxruntime-gpu"
            onnxruntime = runtime_import.require_module("onnxruntime", package)
        except MissingRuntimeError as cause:
            return str(cause)
        provider = PROVIDERS[self.device]
        if provider not in onnxruntime.get_available_providers():
            return f"onnxruntime: expected a build with {provider}, got one without; pip install onnxruntime-gpu"
        return cuda.unavailable_reason() if self.device == "cuda" else None

    def files(self, engine: Path) -> tuple[Path, ...]:
        """The graph and its stamp."""
        return (engine, stamp.path_of(engine))

    def options(self, *, exact: bool = False) -> Any:
        """Create the runtime's SessionOptions; with `exact`, Q/DQ pairs are not fused into integer products."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = ERRORS_ONLY
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        # Spinning threads would use 45 ms of processor time after each image.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if exact:
            options.add_session_config_entry("session.disable_quant_qdq", "1")
        return options


class _OnnxRuntimeSession(Session):
    def __init__(self, engine: Path, backend: OnnxRuntime, *, exact: bool = False) -> None:
        import numpy as np
        import onnxruntime

        self.kernels: list[Kernel] | None = None
        options = backend.options(exact=exact)
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):  # read-only or full: what products compute in stays unknown
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="onnxruntime-"))
                options.enable_profiling = True
                options.profile_file_prefix = str(Path(folder) / "profile")
            session = _open(engine, backend, options)
            image = _image(engine, session)
            self._input = session.get_inputs()[0].name
            # Only a profile tells where and in what type the fused kernels run.
            session.run(None, {self._input: np.zeros((1, *image), np.uint8)})
            with contextlib.suppress(OSError):
                if options.enable_profiling:
                    self.kernels = onnxruntime_kernels.read_profile(Path(session.end_profiling()))
        provider, version = session.get_providers()[0], f"onnxruntime {onnxruntime.__version__}"
        super().__init__(engine, _ran(engine, backend, self.kernels, provider, version), image)
        self._session = session

    def _run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        scores: NDArray[np.float32] = self._session.run(None, {self._input: images})[0]
        return scores

    def _release(self) -> None:
        del self._session


def _ran(engine: Path, backend: OnnxRuntime, kernels: list[Kernel] | None, provider: str, version: str) -> RuntimeInfo:
    """Read from the profiled kernels; without a profile only the CPU is certain, the one provider of its sessions."""
    if kernels is None and backend.device != "cpu":
        raise MissingRuntimeError(f"{engine}: {NO_PROFILE}")
    return RuntimeInfo(
        provider=provider,
        device=backend.device,
        compute="unknown" if kernels is None else onnxruntime_kernels.compute(kernels),
        version=version,
        placed=1.0 if kernels is None else onnxruntime_kernels.placed(engine, kernels, provider),
    )


def _open(engine: Path, backend: OnnxRuntime, options: Any) -> Any:
    import onnxruntime

    if backend.device == "cuda":
        onnxruntime.preload_dlls()
    provider = PROVIDERS[backend.device]
    try:
        session = onnxruntime.InferenceSession(str(engine), options, providers=[provider])
    except Exception as cause:  # its exceptions share no base class of their own
        raise _refusal(engine, cause) from cause
    session.disable_fallback()
    if session.get_providers()[0] != provider:
        raise MissingRuntimeError(
            f"onnxruntime: expected {provider}, got {session.get_providers()}; check the GPU's driver"
        )
    return session


def _refusal(engine: Path, cause: Exception) -> EngineError:
    import onnxruntime

    for what, pattern in TOO_NEW.items():
        match = pattern.search(str(cause))
        if match:
            return EngineError(
                f"{engine}: expected {what} {match[2]} or older, the newest that onnxruntime {onnxruntime.__version__} "
                f"reads, got {what} {match[1]}; upgrade the runtime, or export an older one"
            )
    return EngineError(f"{engine}: expected a graph for ONNX Runtime, got: {cause}; export it again")


def _image(engine: Path, session: Any) -> tuple[int, ...]:
    inputs, outputs = session.get_inputs(), session.get_outputs()
    got = [(tensor.name, tensor.type, tensor.shape) for tensor in (*inputs, *outputs)]
    is_tagger = len(inputs) == len(outputs) == 1 and [kind for _, kind, _ in got] == ["tensor(uint8)", "tensor(float)"]
    shape = inputs[0].shape if inputs else []
    if not is_tagger or len(shape) != 4 or shape[3] != 3 or not all(isinstance(side, int) for side in shape[1:]):
        raise EngineError(f"{engine}: expected uint8 (batch, H, W, 3) to float scores (batch, L), got {got}")
    return tuple(shape[1:])
