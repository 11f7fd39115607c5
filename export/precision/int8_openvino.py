"""INT8 for OpenVINO: NNCF on OpenVINO's own graph."""

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

BEHIND = frozenset({"Result", "Sigmoid", "Add", "Multiply", "Squeeze", "Unsqueeze", "Reshape", "Transpose"})
HEAD = r"head[./].*"  # a tagger's head, by its module's name: small products, int8 gains no time there and loses mAP
Method = Literal["nncf", "min_max", "histogram"]
METHODS: tuple[Method, ...] = get_args(Method)
ESTIMATORS = {"nncf": None, "min_max": "MINMAX", "histogram": "HISTOGRAM"}  # its own choice; ranges by name
PRODUCTS = frozenset({"MatMul", "Convolution", "GroupConvolution", "Einsum"})


def int8_openvino(model: Path, images: NDArray[np.uint8], out: Path, method: Method = "nncf") -> Path:
    """Quantize the float .onnx or .xml with ranges from `images` (K, H, W, 3); `out` is .xml, .bin goes beside."""
    network = _read(model)
    with _quiet() as nncf:
        options, ranges = _options(network, images, method)
        quantised = nncf.quantize(network, _dataset(images), advanced_parameters=ranges, **options)
    return _save(quantised, out, model)


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

    kept = sorted({*_in_front(network), *_behind(network)})
    name = ESTIMATORS[method]
    estimator = None if name is None else getattr(RangeEstimatorParametersSet, name)
    options = {
        "subset_size": len(images),
        "ignored_scope": nncf.IgnoredScope(names=kept, patterns=[HEAD], validate=False),
        "preset": nncf.QuantizationPreset.MIXED,
    }
    ranges = nncf.AdvancedQuantizationParameters(
        activations_range_estimator_params=estimator,
        overflow_fix=OverflowFix.ENABLE,  # weights of 7 bits: OpenVINO's kernels for x86 without VNNI saturate as well
    )
    return options, ranges


def _save(quantised: Any, out: Path, model: Path) -> Path:
    import nncf
    import openvino

    _annotate(quantised)
    out.parent.mkdir(parents=True, exist_ok=True)
    openvino.save_model(quantised, str(out), compress_to_fp16=False)
    made_by, graph = f"nncf {nncf.__version__}", stamp.origin(model)
    stamp.write(out, stamp.here(runtime=made_by, device="any", precision="int8_openvino", options={}, graph=graph))
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
def _quiet() -> Iterator[Any]:
    """nncf, without a word: it reports every step with its own handler and draws its own progress on stdout.

    Its import makes torch report that there is no CUDA compiler.
    """
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
