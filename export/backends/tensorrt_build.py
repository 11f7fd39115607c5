"""Builds a TensorRT plan from an ONNX graph, and names the module that the parser or builder refuses."""

from __future__ import annotations

import functools
import logging
import re
from pathlib import Path
from typing import Any

from export.backends import tensorrt_caches
from export.errors import EngineError

log = logging.getLogger(__name__)

BATCHES = (1, 1, 32)  # of the profile: smallest, optimized for, largest
OPTIONS = {"batch": list(BATCHES), "tf32": False, "strongly_typed": True}  # of every build, for the stamp
NEWEST_OPSET = 20  # documented for TensorRT 10; its parser accepts newer ones without a warning
OPSET = re.compile(r"Opset version:\s*(\d+)")
WORD = re.compile(r"[\w./:]+")
SHOWN = 3  # messages in an error: the first is the cause, the others follow from it


class Messages:
    """Passes the library's messages to `logging` and collects its errors for our error message."""

    def __init__(self) -> None:
        self._complaints: list[str] = []
        self.opset = 0  # of the graph that the parser read last
        self.inconsistent = False  # a batch of the profile cannot run; TensorRT for RTX 1.7 only warns

    def add(self, level: int, message: str) -> None:
        """Handle one message of the library."""
        log.log(level, message)
        inconsistent = "not self-consistent" in message
        if level >= logging.ERROR or inconsistent:
            self._complaints += split_lines(message)
        self.inconsistent |= inconsistent
        if (match := OPSET.search(message)) is not None:
            self.opset = int(match[1])

    def clear(self) -> None:
        """Delete the messages so far."""
        self._complaints.clear()
        self.opset, self.inconsistent = 0, False

    def complaints(self) -> str:
        """The library's errors since `clear`."""
        return "; ".join(self._complaints[:SHOWN]) or "no message of the library"


def split_lines(message: str) -> list[str]:
    """The lines of a message, without the one that follows every message on a machine without a driver."""
    return [line.strip() for line in message.splitlines() if line.strip() and "catchCudaError" not in line]


@functools.cache
def listen(library: Any) -> tuple[Any, Messages]:
    """Create the logger of this process and its messages; TensorRT ignores a second logger while one exists."""
    names = {"INTERNAL_ERROR": logging.CRITICAL, "ERROR": logging.ERROR, "WARNING": logging.WARNING}
    messages = Messages()

    class Logger(library.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            library.ILogger.__init__(self)  # super() is not enough for the binding

        def log(self, severity: Any, message: str) -> None:
            messages.add(names.get(severity.name, logging.DEBUG), message)

    return Logger(), messages


def build(library: Any, model: Path, capability: str | None, timings: Path | None) -> bytes:
    """Build the plan for `capability`, or for the GPU of this machine; EngineError has the library's text.

    `timings` is a path below the cache for what the builder measures.
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
        expected = f"a graph that {library.__name__} builds for {capability or 'this GPU'}, batches 1 to {BATCHES[-1]}"
        raise EngineError(f"{model}: expected {expected}, got: {messages.complaints()}{where}; change the layer")
    if timings is not None:
        tensorrt_caches.save_timings(config, timings)
    return bytes(plan)


def _parse(library: Any, builder: Any, model: Path) -> Any:
    logger, messages = listen(library)
    network = builder.create_network(1 << int(library.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = library.OnnxParser(network, logger)
    parsed = parser.parse_from_file(str(model))
    if messages.opset > NEWEST_OPSET:
        supported = f"opset {NEWEST_OPSET} or older for {library.__name__}"
        raise EngineError(f"{model}: expected {supported}, got {messages.opset}; export it again")
    if not parsed:
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        listed = "; ".join(_complaint(network, error) for error in errors) or "no graph"
        raise EngineError(f"{model}: expected a graph that {library.__name__} parses, got {listed}")
    _check_tagger(network, model)
    return network


def _complaint(network: Any, error: Any) -> str:
    text = " ".join(split_lines(error.desc()))
    if not error.node_name():
        return f"{text} (no node); export it again"
    module = module_of(error.node_name(), _producers(network))
    return f"in {module} node {error.node_name()} ({error.node_operator()}): {text}; change the layer"


def module_of(node: str, producers: dict[str, str]) -> str:
    """The module of the model that a node belongs to; our nodes are named MODULE/OPERATOR_N.

    Nodes added by a quantizer or a cast are named after the tensor that they read; `producers` maps tensors to nodes.
    """
    if "/" in node:
        return node.rpartition("/")[0]
    tensor = max((name for name in producers if node.startswith(f"{name}_")), key=len, default=None)
    if tensor is not None and "/" in producers[tensor]:
        return producers[tensor].rpartition("/")[0]
    return node.partition(".weight")[0].removeprefix("tagger.")  # a weight is named MODULE.weight


def _producers(network: Any) -> dict[str, str]:
    """Names of tensors -> names of the layers that write them."""
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    return {layer.get_output(index).name: layer.name for layer in layers for index in range(layer.num_outputs)}


def _modules_named(network: Any, message: str) -> list[str]:
    """Modules of the layers that a message of the builder mentions."""
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
    # The graph decides the precision; TF32, on by default, would round the factors of fp32 products to 10 bits.
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
