"""INT8 for OpenVINO: NNCF on an OpenVINO graph."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from export.backends import stamp
from export.precision.ranges import check_images

AFTER_PRODUCTS = frozenset({"Result", "Sigmoid", "Add", "Multiply", "Squeeze", "Unsqueeze", "Reshape", "Transpose"})
HEAD = r"head[./].*"  # modules of the head: their products are small, int8 saves no time and loses mAP
Method = Literal["nncf", "min_max", "histogram"]
METHODS: tuple[Method, ...] = get_args(Method)
ESTIMATORS = {"nncf": None, "min_max": "MINMAX", "histogram": "HISTOGRAM"}  # None: the default of NNCF
PRODUCTS = frozenset({"MatMul", "Convolution", "GroupConvolution", "Einsum"})


def int8_openvino(model: Path, images: NDArray[np.uint8], out: Path, method: Method = "nncf") -> Path:
    """Quantize a float .onnx or .xml with ranges from `images` (K, H, W, 3); writes `out`, an .xml, and its .bin."""
    network = _read(model)
    with _quiet() as nncf:
        options, ranges = _options(network, images, method)
        quantized = nncf.quantize(network, _dataset(images), advanced_parameters=ranges, **options)
    return _save(quantized, out, model)


def _read(model: Path) -> Any:
    import openvino

    return openvino.Core().read_model(str(model))


def _dataset(images: NDArray[np.uint8]) -> Any:
    import nncf

    check_images(images)
    return nncf.Dataset(images, lambda image: image[None])


def _options(network: Any, images: NDArray[np.uint8], method: Method) -> tuple[dict[str, Any], Any]:
    import nncf
    from nncf.quantization.advanced_parameters import OverflowFix
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    kept = sorted({*_before_products(network), *_from_last_product(network)})
    name = ESTIMATORS[method]
    estimator = None if name is None else getattr(RangeEstimatorParametersSet, name)
    options = {
        "subset_size": len(images),
        "ignored_scope": nncf.IgnoredScope(names=kept, patterns=[HEAD], validate=False),
        "preset": nncf.QuantizationPreset.MIXED,
    }
    ranges = nncf.AdvancedQuantizationParameters(
        activations_range_estimator_params=estimator,
        overflow_fix=OverflowFix.ENABLE,  # 7-bit weights: kernels for x86 without VNNI saturate with 8
    )
    return options, ranges


def _save(quantized: Any, out: Path, model: Path) -> Path:
    import nncf
    import openvino

    _annotate(quantized)
    out.parent.mkdir(parents=True, exist_ok=True)
    openvino.save_model(quantized, str(out), compress_to_fp16=False)
    made_by, graph = f"nncf {nncf.__version__}", stamp.origin(model)
    stamp.write(out, stamp.create(runtime=made_by, device="any", precision="int8_openvino", options={}, graph=graph))
    return out


def _before_products(network: Any) -> set[str]:
    """Names of the nodes between the input and the first products, exclusive."""
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


def _from_last_product(network: Any) -> set[str]:
    """Names of the nodes from the last product, with a Mul in front of it, to the scores."""
    names: set[str] = set()
    waiting = list(network.get_results())
    while waiting:
        node = waiting.pop()
        kind = node.get_type_name()
        if kind not in AFTER_PRODUCTS | PRODUCTS:
            continue
        names |= {node.get_friendly_name()} if kind != "Result" else set()
        sources = [value.get_node() for value in node.input_values()]
        if kind not in PRODUCTS:
            waiting += sources
        elif sources[0].get_type_name() == "Multiply":
            names.add(sources[0].get_friendly_name())
    return names


def _annotate(network: Any) -> None:
    """Write the new precision to the metadata; remove NNCF's settings, which contain names of temporary files."""
    if "nncf" in network.rt_info:
        del network.rt_info["nncf"]
    network.set_rt_info("int8_openvino", ["framework", "precision"])


@contextmanager
def _quiet() -> Iterator[Any]:
    """Yield nncf without its log and its progress bar on stdout, and without torch's warning at its import."""
    loggers = [logging.getLogger(name) for name in ("nncf", "torch.utils.cpp_extension")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            import nncf

            yield nncf
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
