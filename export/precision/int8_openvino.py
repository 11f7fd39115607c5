"""INT8 for OpenVINO: NNCF on OpenVINO's own graph."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.precision.qdq import check_images

BEHIND = frozenset({"Result", "Sigmoid", "Add", "Multiply", "Squeeze", "Unsqueeze", "Reshape", "Transpose"})
HEAD = r"head[./].*"  # a tagger's head, by its module's name: small products, int8 gains no time there and loses mAP
PRODUCTS = frozenset({"MatMul", "Convolution", "GroupConvolution", "Einsum"})


def int8_openvino(model: Path, images: NDArray[np.uint8], out: Path) -> Path:
    """Quantise the float .onnx or .xml with ranges from `images` (K, H, W, 3); `out` is .xml, .bin goes beside."""
    import nncf
    import openvino

    check_images(images)
    network = openvino.Core().read_model(str(model))
    kept = sorted({*_in_front(network), *_behind(network)})
    with _quiet():
        quantised = nncf.quantize(
            network,
            nncf.Dataset(images, lambda picture: picture[None]),
            subset_size=len(images),
            ignored_scope=nncf.IgnoredScope(names=kept, patterns=[HEAD], validate=False),
            preset=nncf.QuantizationPreset.MIXED,
        )
    _annotate(quantised)
    out.parent.mkdir(parents=True, exist_ok=True)
    openvino.save_model(quantised, str(out), compress_to_fp16=False)
    return out


def _in_front(network: Any) -> set[str]:
    """Names of the nodes from the input up to the first products, these not included."""
    names: set[str] = set()
    waiting = list(network.get_parameters())
    while waiting:
        for port in waiting.pop().outputs():
            for target in port.get_target_inputs():
                node = target.get_node()
                if node.get_type_name() not in PRODUCTS and node.get_friendly_name() not in names:
                    names.add(node.get_friendly_name())
                    waiting += [node] if node.get_type_name() != "ShapeOf" else []
    return names


def _behind(network: Any) -> set[str]:
    """Names of the nodes from the last product, itself and a factor in it included, to the scores."""
    names: set[str] = set()
    waiting = list(network.get_results())
    while waiting:
        node = waiting.pop()
        kind = node.get_type_name()
        if kind not in BEHIND | PRODUCTS:
            continue
        names |= {node.get_friendly_name()} if kind != "Result" else set()
        sources = [value.get_node() for value in node.input_values()]
        if kind not in PRODUCTS:
            waiting += sources
        elif sources[0].get_type_name() == "Multiply":
            names.add(sources[0].get_friendly_name())
    return names


def _annotate(network: Any) -> None:
    """Say the new precision; drop NNCF's settings, which name temporary files."""
    if "nncf" in network.rt_info:
        del network.rt_info["nncf"]
    network.set_rt_info("int8_openvino", ["framework", "precision"])


@contextmanager
def _quiet() -> Iterator[None]:
    """NNCF reports every step with its own handler and draws its own progress on stdout."""
    logger = logging.getLogger("nncf")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
