"""An ONNX graph to a TensorRT plan, and whose fault it is when the parser or the builder refuses it."""

from __future__ import annotations

import functools
import logging
import re
from pathlib import Path
from typing import Any

from export.backends import tensorrt_caches
from export.errors import EngineError

log = logging.getLogger(__name__)

BATCHES = (1, 1, 32)  # of the profile: least, tuned for, most images at once
OPTIONS = {"batch": list(BATCHES), "tf32": False, "strongly_typed": True}  # of every build, as stamps hold them
NEWEST_OPSET = 20  # that TensorRT 10 documents; the parser takes any newer one without a word
OPSET = re.compile(r"Opset version:\s*(\d+)")
WORD = re.compile(r"[\w./:]+")
SHOWN = 3  # complaints in an error: the first is the cause, the rest follow from it


class Messages:
    """Passes the library's messages to `logging` and keeps its complaints for the error that follows."""

    def __init__(self) -> None:
        self._complaints: list[str] = []
        self.opset = 0  # of the graph that the parser read last
        self.inconsistent = False  # some batch of the profile cannot run: TensorRT for RTX 1.7 only warns of that

    def add(self, level: int, message: str) -> None:
        """Take one message of the library."""
        log.log(level, message)
        inconsistent = "not self-consistent" in message
        if level >= logging.ERROR or inconsistent:
            self._complaints += told(message)
        self.inconsistent |= inconsistent
        if (found := OPSET.search(message)) is not None:
            self.opset = int(found[1])

    def clear(self) -> None:
        """Forget what was said before."""
        self._complaints.clear()
        self.opset, self.inconsistent = 0, False

    def complaints(self) -> str:
        """What the library complained of since `clear`."""
        return "; ".join(self._complaints[:SHOWN]) or "no message of the library"


def told(message: str) -> list[str]:
    """The lines of a message, without the second complaint that follows every one where there is no driver."""
    return [line.strip() for line in message.splitlines() if line.strip() and "catchCudaError" not in line]


@functools.cache
def listen(library: Any) -> tuple[Any, Messages]:
    """The logger of this process and what it hears: while anything holds one, TensorRT ignores every other."""
    names = {"INTERNAL_ERROR": logging.CRITICAL, "ERROR": logging.ERROR, "WARNING": logging.WARNING}
    messages = Messages()

    class Logger(library.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            library.ILogger.__init__(self)  # super() is not enough for the binding

        def log(self, severity: Any, message: str) -> None:
            messages.add(names.get(severity.name, logging.DEBUG), message)

    return Logger(), messages


def build(library: Any, model: Path, capability: str | None, timings: Path | None) -> bytes:
    """The plan for `capability`, or for this machine's GPU; EngineError in the library's words.

    `timings`, a place in the cache, keeps what the builder measured for the next build.
    """
    logger, messages = listen(library)
    messages.clear()
    builder = library.Builder(logger)
    network = _parse(library, builder, model)
    config = _configure(library, builder, network, capability)
    if timings is not None:
        tensorrt_caches.load_timings(config, timings)
    plan = builder.build_serialized_network(network, config)
    if plan is None or messages.inconsistent:
        where = "".join(f" (in {module})" for module in _modules_named(network, messages.complaints()))
        wanted = f"a graph that {library.__name__} builds for {capability or 'this GPU'}, batches 1 to {BATCHES[-1]}"
        raise EngineError(f"{model}: expected {wanted}, got: {messages.complaints()}{where}; change the layer")
    if timings is not None:
        tensorrt_caches.keep_timings(config, timings)
    return bytes(plan)


def _parse(library: Any, builder: Any, model: Path) -> Any:
    logger, messages = listen(library)
    network = builder.create_network(1 << int(library.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = library.OnnxParser(network, logger)
    parsed = parser.parse_from_file(str(model))
    if messages.opset > NEWEST_OPSET:
        known = f"opset {NEWEST_OPSET} or older for {library.__name__}"
        raise EngineError(f"{model}: expected {known}, got {messages.opset}; export it again")
    if not parsed:
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        listed = "; ".join(_complaint(network, error) for error in errors) or "no graph"
        raise EngineError(f"{model}: expected a graph that {library.__name__} parses, got {listed}")
    _check_tagger(network, model)
    return network


def _complaint(network: Any, error: Any) -> str:
    text = " ".join(told(error.desc()))
    if not error.node_name():
        return f"{text} (no node); export it again"
    module = module_of(error.node_name(), _producers(network))
    return f"in {module} node {error.node_name()} ({error.node_operator()}): {text}; change the layer"


def module_of(node: str, producers: dict[str, str]) -> str:
    """The module of the net that a node belongs to: nodes are called MODULE/OPERATOR_N.

    What a quantiser or a cast added is called after the tensor that it reads; `producers` says which node made that.
    """
    if "/" in node:
        return node.rpartition("/")[0]
    tensor = max((name for name in producers if node.startswith(f"{name}_")), key=len, default=None)
    if tensor is not None and "/" in producers[tensor]:
        return producers[tensor].rpartition("/")[0]
    return node.partition(".weight")[0].removeprefix("tagger.")  # a weight is called MODULE.weight


def _producers(network: Any) -> dict[str, str]:
    """Name of each tensor -> name of the layer that makes it."""
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    return {layer.get_output(index).name: layer.name for layer in layers for index in range(layer.num_outputs)}


def _modules_named(network: Any, message: str) -> list[str]:
    """Modules of the layers that a message of the builder names."""
    producers, words = _producers(network), {word.strip(".:") for word in WORD.findall(message)}
    return sorted({module_of(name, producers) for name in producers.values() if name in words})


def _check_tagger(network: Any, model: Path) -> None:
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    outputs = [network.get_output(index) for index in range(network.num_outputs)]
    got = [(tensor.name, tensor.dtype.name, tuple(tensor.shape)) for tensor in (*inputs, *outputs)]
    kinds, shape = [kind for _, kind, _ in got], got[0][2] if got else ()
    images = len(shape) == 4 and shape[0] == -1 and min(shape[1:]) > 0 and shape[3] == 3
    if len(inputs) != 1 or kinds != ["UINT8", "FLOAT"] or not images or len(got[1][2]) != 2:
        raise EngineError(
            f"{model}: expected uint8 (batch, H, W, 3) to float scores (batch, L), got {got or 'nothing'}"
        )


def _configure(library: Any, builder: Any, network: Any, capability: str | None) -> Any:
    config = builder.create_builder_config()
    # On by default, and would round the factors of fp32 products to 10 bits: precision is in the graph.
    config.clear_flag(library.BuilderFlag.TF32)
    profile = builder.create_optimization_profile()
    images = network.get_input(0)
    image = tuple(images.shape)[1:]
    profile.set_shape(images.name, *((batch, *image) for batch in BATCHES))
    config.add_optimization_profile(profile)
    if capability is not None:
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(library.ComputeCapability, capability), 0)
    return config
