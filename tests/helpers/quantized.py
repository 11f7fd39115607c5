"""Bundles with int8 engines, whose expected scores are those of exact arithmetic: they hold on every processor."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from export.backends import OnnxRuntime, OpenVino
from export.bundle.bundle import Parts, write_bundle
from export.bundle.golden import write_golden
from export.bundle.manifest import ANY_PROCESSOR
from export.precision.int8 import int8, int8_x86
from export.precision.int8_openvino import int8_openvino
from tests.helpers import bundles, convolutions, saturating, selftests

SATURATING, SEVEN_BITS = "onnxruntime-int8", "onnxruntime-int8-7bit"
WITH_VNNI = "ARM and x86 with VNNI"


def write(work: Path) -> Path:
    """The folder of a bundle with a graph of every quantizer and their float twins."""
    graph = convolutions.write_convolutions(work / "fp32.onnx", "Relu")
    side = convolutions.PX
    images = np.random.default_rng(1).integers(0, 256, (8, side, side, 3), dtype=np.uint8)
    x86, signed = int8_x86(graph, images, work / "int8_x86.onnx"), int8(graph, images, work / "int8.onnx")
    network = int8_openvino(graph, images, work / "int8_openvino.xml")
    graphs = {
        "onnxruntime-fp32": graph,
        "onnxruntime-int8": x86,
        "onnxruntime-int8-signed": signed,
        "openvino-fp32": graph,
        "openvino-int8": network,
    }
    return _bundle(work, graphs, selftests.drawings(work / "drawn"), side, bundles.LABELS)


def write_saturating(work: Path) -> Path:
    """The folder of a bundle whose first engine x86 without VNNI computes wrong, and whose second, of 7 bits, right."""
    graphs = {
        name: saturating.write_saturating_graph(work / f"{name}.onnx", weight_bits=bits)
        for name, bits in ((SATURATING, 8), (SEVEN_BITS, 7))
    }
    (work / "drawn").mkdir()
    files = [work / f"drawn/{number}.png" for number in range(4)]
    for file, image in zip(files, saturating.bright_images(len(files)), strict=True):
        Image.fromarray(image).resize((40, 30)).save(file)
    labels = [f"above {level}" for level in range(saturating.LABELS)]
    return _bundle(work, graphs, files, saturating.PX, labels)


def _bundle(work: Path, graphs: Mapping[str, Path], files: Sequence[Path], side: int, labels: Sequence[str]) -> Path:
    count, sources, engines, scores = len(labels), dict[str, Path](), [], dict[str, Any]()
    unknown, halves = (None,) * count, (0.5,) * count
    tuned = {"thresholds": halves, "expected_precision": unknown, "expected_recall": unknown, "tune_ap": unknown}
    with contextlib.ExitStack() as opened:
        for name, graph in graphs.items():
            backend, room = (OpenVino(), "engines") if name.startswith("openvino") else (OnnxRuntime(), "models")
            engine = backend.compile(graph, work / room)
            built = backend.files(engine)
            inner = tuple(f"{room}/{file.name}" for file in built)
            sources |= dict(zip(inner, built, strict=True))
            meant_for = ANY_PROCESSOR if name == SEVEN_BITS else WITH_VNNI
            entry = bundles.engine(
                name, backend, inner, engine, precision=name.partition("-")[2], meant_for=meant_for, **tuned
            )
            engines.append(entry)
            scores[name] = opened.enter_context(backend.open_exact(engine))
        images, expected = write_golden(
            files, side, work / "golden", scores, labels=labels, thresholds=dict.fromkeys(scores, halves)
        )
    sources |= {f"golden/{file.name}": file for file in (*images, expected)}
    golden = tuple(f"golden/{file.name}" for file in images)
    facts = {"golden": golden, "image_px": side, "labels": tuple(labels), "tune_positives": (1,) * count}
    write_bundle(Parts(manifest=bundles.manifest(*engines, **facts), sources=sources), work / "bundle")
    return work / "bundle"
