"""TensorRT, the full library or TensorRT for RTX, whose engine is a plan built for one kind of GPU."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from export.backends import cuda, runtime_import, stamp, tensorrt_caches
from export.backends.base import RuntimeInfo, Session, atomic_output, check_file
from export.backends.tensorrt_build import OPTIONS, build, listen
from export.errors import EngineError, MissingRuntimeError
from mlkd.core.files import sha256_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DEVICE = "device"
RTX, FULL = "tensorrt_rtx", "tensorrt"
PACKAGES = {RTX: "tensorrt-rtx-cu13", FULL: "tensorrt"}
LISTED = ("SM75", "SM80", "SM86", "SM89", "SM120", "SM121")  # TensorRT for RTX builds for these without a GPU
COMPUTES = {"fp32": "f32", "fp16": "f16"}  # strongly typed: the builder cannot choose another type
AGAIN = "rebuild it from its ONNX on this machine"


@dataclass(frozen=True, kw_only=True)
class TensorRt:
    """TensorRT; the graph decides the precision, because networks are strongly typed."""

    kind: Literal["tensorrt"] = "tensorrt"
    compute_capability: Literal[  # "device": the GPU of this machine; others are built without a GPU
        "SM75", "SM80", "SM86", "SM89", "SM120", "SM121", "device"
    ] = "SM86"  # fmt: skip

    def __post_init__(self) -> None:
        if self.compute_capability not in (*LISTED, DEVICE):
            raise ValueError(
                f"tensorrt.compute_capability: expected one of {', '.join(LISTED)}, {DEVICE}, "
                f"got {self.compute_capability!r}"
            )

    def compile(self, model: Path, out_dir: Path) -> Path:
        """Build MODEL-sm86.plan.

        The full library measures kernels while it builds and stores its timings in the cache for the next build.

        Raises:
            EngineError: The library refuses the graph; the message has its text, the node and its module.
            MissingRuntimeError: The library is missing, or the GPU to build for.
        """
        check_file(model, (".onnx",), "TensorRT's parser")
        library = self._library()
        capability = self._capability()
        timings = Path("timings", f"{library.__name__}-{library.__version__}-{capability}")
        plan = build(
            library,
            model,
            None if self.compute_capability == DEVICE else capability,
            timings if library.__name__ == FULL else None,  # TensorRT for RTX measures nothing (no-op since 1.2)
        )
        name = f"{model.stem}-{capability.lower()}.plan"
        made = stamp.Stamp(
            runtime=_version(library),
            device=capability,
            precision=stamp.precision_of(model),
            options={"compute_capability": self.compute_capability} | OPTIONS,
            graph=sha256_of(model),
        )
        with atomic_output(out_dir) as folder:
            (folder / name).write_bytes(plan)
            stamp.write(folder / name, made)
        return out_dir / name

    def open(self, engine: Path) -> Session:
        """Open a plan on the first GPU of this machine.  A plan is code: verify its hash first.

        Raises:
            EngineError: The plan is of another library, version, system or GPU.
            MissingRuntimeError: No plan can run on this machine.
        """
        check_file(engine, (".plan",), "TensorRT")
        stamped = stamp.read(engine)
        library = self._library()
        _check(engine, "library", stamped.runtime, _version(library))
        _check(engine, "system", stamped.os, stamp.os_name())
        if (reason := cuda.unavailable_reason()) is not None:
            raise MissingRuntimeError(reason)
        _check(engine, "GPU", stamped.device, cuda.compute_capability())
        return _TensorRtSession(engine, library, stamped)

    def unavailable_reason(self) -> str | None:
        """Say why TensorRT cannot run on this machine, and what to do; None if it can."""
        try:
            library = self._library()
        except MissingRuntimeError as cause:
            return str(cause)
        if (reason := cuda.unavailable_reason()) is not None:
            return reason
        capability = cuda.compute_capability()
        if self.compute_capability not in (DEVICE, capability):
            return f"tensorrt: expected a GPU of {self.compute_capability}, got {capability}; build for this one"
        if library.__name__ == RTX and capability not in LISTED:
            return (
                f"tensorrt: expected the package tensorrt for {capability}, got TensorRT for RTX; pip install tensorrt"
            )
        return None

    def files(self, engine: Path) -> tuple[Path, ...]:
        """The plan and its stamp."""
        return (engine, stamp.path_of(engine))

    def _capability(self) -> str:
        """The capability to build for; MissingRuntimeError without the GPU to build on."""
        if self.compute_capability != DEVICE:
            return self.compute_capability
        if (reason := self.unavailable_reason()) is not None:
            raise MissingRuntimeError(reason)
        return cuda.compute_capability()

    def _library(self) -> Any:
        """Import the library; only TensorRT for RTX builds without a GPU, else the full library is preferred."""
        names = (FULL, RTX) if self.compute_capability == DEVICE else (RTX,)
        problems = []
        for name in names:
            try:
                library = runtime_import.import_runtime(name)
            except ImportError as cause:
                problems.append(f"{name}: {cause}")
                continue
            if hasattr(library, "Builder"):
                return library
            problems.append(f"{name} without a builder")
        package = PACKAGES[names[0]]
        hint = " (a Jetson has it from JetPack: python3 -m venv --system-site-packages)" if names[0] == FULL else ""
        raise MissingRuntimeError(
            f"tensorrt: expected the package {package}, got: {'; '.join(problems)}; pip install {package}{hint}"
        )


class _TensorRtSession(Session):
    def __init__(self, engine: Path, library: Any, stamped: stamp.Stamp) -> None:
        logger, self._messages = listen(library)
        self._messages.clear()
        plan = engine.read_bytes()
        self._runtime = library.Runtime(logger)
        self._stream = cuda.Stream()
        try:
            self._engine = self._runtime.deserialize_cuda_engine(plan)
            if self._engine is None:
                raise EngineError(
                    f"{engine}: expected a plan for this GPU and version, got: {self._messages.complaints()}; {AGAIN}"
                )
            self._input, self._output = (self._engine.get_tensor_name(index) for index in range(2))
            self._labels = self._engine.get_tensor_shape(self._output)[1]
            image = tuple(self._engine.get_tensor_shape(self._input))[1:]
            most = self._engine.get_tensor_profile_shape(self._input, 0)[2][0]
            super().__init__(engine, _ran(library, stamped), image, most)
            self._prepare(library, plan)
        except BaseException:
            self._stream.close()
            raise

    def _prepare(self, library: Any, plan: bytes) -> None:
        self._kernels: tensorrt_caches.Kernels | None = None
        if library.__name__ == RTX:
            self._kernels = tensorrt_caches.Kernels(self._engine, Path("kernels", hashlib.sha256(plan).hexdigest()))
            self._context = self._kernels.context(self._engine)
        else:
            self._context = self._engine.create_execution_context()
        if self._context is None:
            raise MissingRuntimeError(
                f"{self.engine.name}: expected room on the GPU for what it computes, got: "
                f"{self._messages.complaints()}; close what else runs there"
            )

    def _run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        import numpy as np

        scores = np.empty((len(images), self._labels), np.float32)
        self._stream.enter()
        if not self._context.set_input_shape(self._input, images.shape):
            expected = f"expected the engine to accept images {images.shape}"
            raise RuntimeError(f"{self.engine.name}: {expected}, got: {self._messages.complaints()}; {AGAIN}")
        self._context.set_tensor_address(self._input, self._stream.upload(self._input, images))
        self._context.set_tensor_address(self._output, self._stream.buffer(self._output, scores.nbytes))
        if not self._context.execute_async_v3(self._stream.handle):
            raise RuntimeError(f"{self.engine.name}: expected scores, got: {self._messages.complaints()}; {AGAIN}")
        self._stream.download(self._output, scores)
        return scores

    def _release(self) -> None:
        try:
            self._stream.enter()
            if self._kernels is not None:
                self._kernels.save()
        finally:
            del self._context, self._kernels, self._engine, self._runtime
            self._stream.close()


def _ran(library: Any, stamped: stamp.Stamp) -> RuntimeInfo:
    return RuntimeInfo(
        provider=library.__name__,
        device=cuda.compute_capability(),
        # Products of an int8 graph may run on dequantized tensors; the engine inspector's output has no documented
        # format.
        compute=COMPUTES.get(stamped.precision, "unknown"),
        version=_version(library),
        placed=1.0,  # the whole plan runs on the GPU
    )


def _version(library: Any) -> str:
    return f"{library.__name__} {library.__version__}"


def _check(engine: Path, what: str, built_for: str, here: str) -> None:
    if built_for != here:
        raise EngineError(f"{engine}: {what}: expected {here}, got a plan for {built_for}; {AGAIN}")
