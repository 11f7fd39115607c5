"""The page that scripts/zoo.py prints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.device import machine

NETS = (
    "mobilenetv2_100",
    "mobilenetv3_small_100",
    "mobilenetv4_conv_small_050",
    "mobilenetv4_conv_small",
    "mobilenetv4_hybrid_medium",
    "tf_efficientnet_lite0",
    "efficientnet_b0",
    "tinynet_e",
    "lcnet_050",
    "hgnetv2_b0",
    "ghostnet_100",
    "repvgg_a0",
    "mobileone_s0",
    "repvit_m0_9",
    "fastvit_t8",
    "starnet_s1",
    "resnet18",
    "resnet50",
    "regnetx_002",
    "regnety_002",
    "convnext_atto",
    "edgenext_xx_small",
    "efficientvit_b0",
    "efficientvit_m0",
    "mobilevitv2_050",
    "shvit_s1",
    "swiftformer_xs",
    "tiny_vit_5m_224",
    "pvt_v2_b0",
    "vit_tiny_patch16_224",
    "swin_tiny_patch4_window7_224",
)
SAFE, FASTER = 0.99, 1.1
RUNTIMES = {"onnxruntime": "int8_x86", "openvino": "int8_openvino"}  # whose int8 graph each runs
ENGINES = ("onnxruntime f32", "onnxruntime int8", "openvino f32", "openvino bf16", "openvino int8")

Record = Mapping[str, Any]

TEXT = """\
# Export zoo: which models are safe and faster in int8

Every model below, with the label decoder as its head, was exported from torch through ONNX to ONNX Runtime, OpenVINO
and TensorRT for RTX. `tests/export/onnx/test_zoo.py` checks the same models with every head for parity with torch at
batches 1, 3 and 8. `scripts/zoo.py` printed this page.

**Method.** Images are the scenes at 64 px. Each model is trained for {seconds:g} s on one core (MobileOne, whose
branches take few steps in that time, four times as long) from random weights (EfficientNet-lite0: from its
package's). The task is artificial: where in the image there is much of which colour, with 30 labels, a fifth of the
images positive each. A model of any kind learns it in that time, so that there is a mAP to lose, and small errors
change its ranking. `int8` is the plain post-training graph, ranges by min-max (OpenVINO: as NNCF chooses) from 128
images: without a choice of calibration, layers in float or a budget. A model that is not safe here may be safe in a
recipe, which does all that; a model that is safe here can lose mAP on your labels, which is why a recipe measures.

**Safe** keeps at least 99 % of the float mAP on 1,000 images (*select*). **Faster** is at least 1.1 times as fast as
float, minimum against minimum, one image at a time on one thread, engines taking turns in one process. The times
belong to this machine and these small images; a machine without int8 instructions, or larger images, give others.

**Parity** is the largest difference of any score from torch's, float graph, same images.

**TensorRT** says whether the real parser and builder of TensorRT for RTX accepted the graph for a GPU (SM86) that was
not present. It says nothing about speed or about the scores of the engine.

{machine}
"""


def page(records: Sequence[Record], seconds: float) -> str:
    """Markdown: what was measured, verdicts, times, refusals."""
    told = f"Measured on: {machine.cpu_model()}, {', '.join(f'{k} {v}' for k, v in machine.runtimes().items())}."
    parts = [TEXT.format(seconds=seconds, machine=told), verdicts(records), times(records), refusals(records)]
    return "\n".join(part for part in parts if part)


def verdicts(records: Iterable[Record]) -> str:
    """One row a model."""
    head = ("model", "parameters", "training images", "float mAP", "parity ORT", "parity OpenVINO",
            "TensorRT fp32", "fp16", "int8",
            "int8 keeps: ORT", "OpenVINO", "signed Q/DQ", "ONNX Runtime int8", "OpenVINO int8")  # fmt: skip
    rows = []
    for one in records:
        builds = ["yes" if one["tensorrt"][name] is True else "no" for name in ("fp32", "fp16", "int8")]
        kept = [percent(one, name) for name in ("int8_x86", "int8_openvino", "int8")]
        parity = [f"{one['parity'][name]:.0e}" for name in RUNTIMES]
        size, quality = f"{one['parameters'] / 1e6:.1f} M", f"{one['float_map']:.3f}"
        words = [verdict(one, runtime) for runtime in RUNTIMES]
        rows.append((one["net"], size, f"{one['images_seen']:,}", quality, *parity, *builds, *kept, *words))
    return table(head, rows)


def times(records: Iterable[Record]) -> str:
    """Milliseconds and ratios of the models that were timed; empty without any."""
    timed = [one for one in records if "timings" in one]
    head = ("model", *(f"{name}, ms" for name in ENGINES), "ORT int8 against f32", "OpenVINO int8 against f32", "bf16")
    rows = []
    for one in timed:
        cells = [" / ".join(f"{value:.2f}" for value in one["timings"].get(name, ())) or "—" for name in ENGINES]
        pairs = [("onnxruntime", "f32"), ("openvino", "f32"), ("openvino", "bf16")]
        rows.append((one["net"], *cells, *(ratio(one, *pair) for pair in pairs)))
    return f"Times: minimum / median; ratios: of minima / of medians.\n\n{table(head, rows)}" if rows else ""


def refusals(records: Iterable[Record]) -> str:
    """What was refused, in the words of who refused it."""
    found = [
        f"- {one['net']}, {where} {name}: {told}"
        for one in records
        for where, steps in (("TensorRT", one["tensorrt"]), ("int8", one["int8_map"]))
        for name, told in steps.items()
        if isinstance(told, str)
    ]
    return "Refused:\n\n" + "\n".join(found) + "\n" if found else "No model was refused.\n"


def verdict(one: Record, runtime: str) -> str:
    """Whether int8 is safe and faster on a runtime."""
    value = one["int8_map"][RUNTIMES[runtime]]
    if isinstance(value, str):
        return "refused"
    words = ["safe" if value >= SAFE * one["float_map"] else "loses"]
    gained = gain(one, runtime, "f32")
    if gained is not None:
        words.append("faster" if gained[0] >= FASTER else "no faster")
    return ", ".join(words)


def percent(one: Record, name: str) -> str:
    value = one["int8_map"][name]
    return "refused" if isinstance(value, str) else f"{100 * value / one['float_map']:.1f} %"


def ratio(one: Record, runtime: str, against: str) -> str:
    gained = gain(one, runtime, against)
    return "—" if gained is None else " / ".join(f"{value:.2f}" for value in gained)


def gain(one: Record, runtime: str, against: str) -> tuple[float, ...] | None:
    """How many times as fast int8 is: of minima, of medians."""
    times = one.get("timings", {})
    pair = [times.get(f"{runtime} {compute}") for compute in (against, "int8")]
    return None if None in pair else tuple(slow / fast for slow, fast in zip(*pair, strict=True))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
