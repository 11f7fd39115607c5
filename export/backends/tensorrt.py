"""TensorRT, the full library or TensorRT for RTX: a plan built for one kind of GPU is the engine."""

from __future__ import annotations

import importlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from export.backends import cuda
from export.backends.base import EngineRefused, MissingRuntime, Ran, Session, check_file

log = logging.getLogger(__name__)

MOST = 32  # pictures at once; the profile's largest batch
DEVICE = "device"
RTX, FULL = "tensorrt_rtx", "tensorrt"
PACKAGES = {RTX: "tensorrt-rtx-cu13", FULL: "tensorrt"}
CAPABILITIES = ("SM75", "SM80", "SM86", "SM89", "SM120", "SM121", DEVICE)


@dataclass(frozen=True, kw_only=True)
class TensorRt:
    """Builds for a listed compute capability with no GPU (TensorRT for RTX), or for the GPU of this machine.

    Precision is in the graph: networks are strongly typed.
    """

    kind: Literal["tensorrt"] = "tensorrt"
    compute_capability: Literal["SM75", "SM80", "SM86", "SM89", "SM120", "SM121", "device"] = "SM86"

    def __post_init__(self) -> None:
        if self.compute_capability not in CAPABILITIES:
            raise ValueError(
                f"tensorrt.compute_capability: expected one of {', '.join(CAPABILITIES)}, "
                f"got {self.compute_capability!r}"
            )

    def compile(self, model: Path, out_dir: Path) -> Path:
        """Build MODEL-sm86.plan; EngineRefused holds the parser's own words and the node it stopped at."""
        check_file(model, (".onnx",), "TensorRT's parser")
        library = self._library()
        messages = _Messages()
        logger = _logger(library, messages)
        builder = library.Builder(logger)
        network = _parse(library, builder, model, logger)
        config = _configure(library, builder, network, self.compute_capability)
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise EngineRefused(f"{model}: expected a graph that {library.__name__} builds, got: {messages.last()}")
        out_dir.mkdir(parents=True, exist_ok=True)
        engine = out_dir / f"{model.stem}-{self.compute_capability.lower()}.plan"
        engine.write_bytes(bytes(plan))
        return engine

    def open(self, engine: Path) -> Session:
        """Open a plan on this machine's first GPU.  A plan is code: verify its hash before."""
        check_file(engine, (".plan",), "TensorRT")
        _check_plan(engine)
        reason = self.missing()
        if reason is not None:
            raise MissingRuntime(reason)
        return _TensorRtSession(engine, self._library())

    def missing(self) -> str | None:
        """Why it cannot run here."""
        try:
            self._library()
        except MissingRuntime as cause:
            return str(cause)
        reason = cuda.missing()
        if reason is not None or self.compute_capability == DEVICE:
            return reason
        there = cuda.compute_capability()
        if there != self.compute_capability:
            return f"tensorrt: expected a GPU of {self.compute_capability}, got {there}; build for this one"
        return None

    def files(self, engine: Path) -> tuple[Path, ...]:
        """The one file."""
        return (engine,)

    def _library(self) -> Any:
        """Only TensorRT for RTX builds for a GPU that is not there; the full library goes first where it is."""
        names = (FULL, RTX) if self.compute_capability == DEVICE else (RTX,)
        for name in names:
            try:
                library = importlib.import_module(name)
            except ImportError:
                continue
            if hasattr(library, "Builder"):
                return library
        package = PACKAGES[names[-1]]
        raise MissingRuntime(f"tensorrt: expected the package {package}, got none; pip install {package}")


class _TensorRtSession(Session):
    def __init__(self, engine: Path, library: Any) -> None:
        self._messages = _Messages()
        self._logger = _logger(library, self._messages)
        self._runtime = library.Runtime(self._logger)
        self._stream = cuda.Stream()
        self._engine = self._runtime.deserialize_cuda_engine(engine.read_bytes())
        if self._engine is None:
            self._stream.close()
            raise EngineRefused(f"{engine}: expected a plan for this GPU and version, got: {self._messages.last()}")
        self._input, self._output = (self._engine.get_tensor_name(index) for index in range(2))
        shape = tuple(self._engine.get_tensor_shape(self._input))
        most = self._engine.get_tensor_profile_shape(self._input, 0)[2][0]
        ran = Ran(
            provider=library.__name__,
            device=cuda.compute_capability(),
            compute="as in the graph",  # strongly typed: the builder may not choose another
            version=f"{library.__name__} {library.__version__}",
        )
        super().__init__(engine, ran, shape[1:], most)
        self._context = self._engine.create_execution_context()
        self._labels = self._engine.get_tensor_shape(self._output)[1]

    def _run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        scores = np.empty((len(images), self._labels), np.float32)
        self._context.set_input_shape(self._input, images.shape)
        self._context.set_tensor_address(self._input, self._stream.upload(self._input, images))
        self._context.set_tensor_address(self._output, self._stream.buffer(self._output, scores.nbytes))
        if not self._context.execute_async_v3(self._stream.handle):
            raise RuntimeError(f"{self.engine.name}: expected scores, got: {self._messages.last()}")
        self._stream.download(self._output, scores)
        return scores

    def _release(self) -> None:
        del self._context, self._engine, self._runtime
        self._stream.close()


class _Messages:
    """Passes the library's messages to `logging` and keeps its complaints for the error that follows."""

    def __init__(self) -> None:
        self._complaints: list[str] = []

    def add(self, level: int, message: str) -> None:
        log.log(level, message)
        if level >= logging.ERROR:
            self._complaints.append(message)

    def last(self) -> str:
        return "; ".join(self._complaints[-3:]) or "no message of the library"


def _check_plan(engine: Path) -> None:
    with engine.open("rb") as stream:
        head = stream.read(4)
    if head[1:] != b"trt":  # vtrt from TensorRT for RTX, ftrt from the full library
        raise EngineRefused(f"{engine}: expected a TensorRT plan, got a file that starts with {head!r}")


def _logger(library: Any, messages: _Messages) -> Any:
    names = {"INTERNAL_ERROR": logging.CRITICAL, "ERROR": logging.ERROR, "WARNING": logging.WARNING}

    class Logger(library.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            library.ILogger.__init__(self)  # super() is not enough for the binding

        def log(self, severity: Any, message: str) -> None:
            messages.add(names.get(severity.name, logging.DEBUG), message)

    return Logger()


def _parse(library: Any, builder: Any, model: Path, logger: Any) -> Any:
    network = builder.create_network(1 << int(library.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = library.OnnxParser(network, logger)
    if not parser.parse_from_file(str(model)):
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        listed = "; ".join(f"node {error.node_name()} ({error.node_operator()}): {error.desc()}" for error in errors)
        raise EngineRefused(f"{model}: expected a graph that {library.__name__} parses, got {listed or 'no graph'}")
    return network


def _configure(library: Any, builder: Any, network: Any, capability: str) -> Any:
    config = builder.create_builder_config()
    profile = builder.create_optimization_profile()
    images = network.get_input(0)
    picture = tuple(images.shape)[1:]
    profile.set_shape(images.name, (1, *picture), (1, *picture), (MOST, *picture))
    config.add_optimization_profile(profile)
    if capability != DEVICE:
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(library.ComputeCapability, capability), 0)
    return config
