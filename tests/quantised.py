"""A bundle of convolutions with every int8 engine, whose expected scores are those of exact arithmetic."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np

from export.backends import OnnxRuntime, OpenVino
from export.bundle import Parts, write_bundle
from export.golden import write_golden
from export.precision.int8 import int8
from export.precision.int8_openvino import int8_openvino
from export.precision.int8_x86 import int8_x86
from tests import bundles, selftests
from tests.convolutions import PX, write_convolutions

GRAPHS = {
    "onnxruntime-fp32": "fp32",
    "onnxruntime-int8": "int8_x86",
    "onnxruntime-int8-signed": "int8",
    "openvino-fp32": "fp32",
    "openvino-int8": "int8_openvino",
}


def write(work: Path) -> Path:
    """The folder of the bundle, in `work`."""
    graph = write_convolutions(work / "fp32.onnx", "Relu")
    images = np.random.default_rng(1).integers(0, 256, (8, PX, PX, 3), dtype=np.uint8)
    graphs = {"fp32": graph}
    for precision, quantised in (("int8_x86", int8_x86), ("int8", int8)):
        graphs[precision] = quantised(graph, images, work / f"{precision}.onnx")
    graphs["int8_openvino"] = int8_openvino(graph, images, work / "int8_openvino.xml")
    sources, engines = {}, []
    with contextlib.ExitStack() as opened:
        scores = {}
        for name, precision in GRAPHS.items():
            backend = OpenVino() if name.startswith("openvino") else OnnxRuntime()
            room = "engines" if name.startswith("openvino") else "models"
            files = backend.files(backend.compile(graphs[precision], work / room))
            inner = tuple(f"{room}/{file.name}" for file in files)
            sources |= dict(zip(inner, files, strict=True))
            entry = bundles.engine(name, backend, inner, files[0], precision=precision)
            engines.append(entry)
            scores[name] = opened.enter_context(backend.open_graph(files[0]))
        pictures, expected = write_golden(selftests.drawings(work / "drawn"), PX, work / "golden", scores)
    sources |= {f"golden/{file.name}": file for file in (*pictures, expected)}
    golden = tuple(f"golden/{file.name}" for file in pictures)
    manifest = bundles.manifest(*engines, golden=golden, image_px=PX)
    write_bundle(Parts(manifest=manifest, sources=sources), work / "bundle")
    return work / "bundle"
