"""INT8 for OpenVINO: NNCF on an OpenVINO graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from export.backends import stamp
from export.precision.ranges import check_images
from export.quiet import quiet

# By their names in `to_onnx`: the normalization of the input, the head, whose small products save no time in int8 and
# lose mAP, and the scores.
IN_FLOAT = r"tagger/|head[./]|scores$"
Method = Literal["histogram", "nncf", "min_max"]  # in the order in which they are tried
METHODS: tuple[Method, ...] = get_args(Method)
ESTIMATORS = {"nncf": None, "min_max": "MINMAX", "histogram": "HISTOGRAM"}  # None: the default of NNCF


def int8_openvino(model: Path, images: NDArray[np.uint8], out: Path, method: Method = "nncf") -> Path:
    """Quantize a float .onnx or .xml with ranges from `images` (K, H, W, 3); writes `out`, an .xml, and its .bin."""
    import openvino

    check_images(images)
    network = openvino.Core().read_model(str(model))
    with quiet("nncf", "torch.utils.cpp_extension"):  # the second warns when nncf is imported
        import nncf

        dataset = nncf.Dataset(images, lambda image: image[None])
        quantized = nncf.quantize(network, dataset, **_options(len(images), method))
    return _save(quantized, out, model)


def _options(count: int, method: Method) -> dict[str, Any]:
    import nncf
    from nncf.quantization.advanced_parameters import OverflowFix
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    name = ESTIMATORS[method]
    advanced = nncf.AdvancedQuantizationParameters(
        activations_range_estimator_params=None if name is None else getattr(RangeEstimatorParametersSet, name),
        overflow_fix=OverflowFix.ENABLE,  # 7-bit weights: kernels for x86 without VNNI saturate with 8
    )
    return {
        "subset_size": count,
        "ignored_scope": nncf.IgnoredScope(patterns=[IN_FLOAT]),
        "preset": nncf.QuantizationPreset.MIXED,
        "advanced_parameters": advanced,
    }


def _save(quantized: Any, out: Path, model: Path) -> Path:
    import nncf
    import openvino

    _annotate(quantized)
    out.parent.mkdir(parents=True, exist_ok=True)
    openvino.save_model(quantized, str(out), compress_to_fp16=False)
    made_by, graph = f"nncf {nncf.__version__}", stamp.origin(model)
    stamp.write(out, stamp.Stamp(runtime=made_by, device="any", precision="int8_openvino", options={}, graph=graph))
    return out


def _annotate(network: Any) -> None:
    """Write the new precision to the metadata; remove NNCF's settings, which contain names of temporary files."""
    if "nncf" in network.rt_info:
        del network.rt_info["nncf"]
    network.set_rt_info("int8_openvino", ["framework", "precision"])
