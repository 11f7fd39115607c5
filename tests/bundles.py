"""A real bundle small enough for every test: three labels that say which colour fills a picture."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from export.backends import OnnxRuntime, OpenVino, TensorRt
from export.bundle import EngineEntry, Manifest, Parts, write_bundle
from mlkd.images import PREPROCESSING

LABELS = ("red", "green", "blue")
PX = 16
COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "yellow": (255, 255, 0)}


def write_onnx(path: Path) -> Path:
    """uint8 (batch, PX, PX, 3) -> sigmoid(12 * mean colour - 6), (batch, 3)."""
    weights = {"gain": np.eye(3, dtype=np.float32) * 12 / 255, "bias": np.full(3, -6, dtype=np.float32)}
    nodes = [
        helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["mean", "gain"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", PX, PX, 3])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def engine(name: str, backend: Any, files: tuple[str, ...], **changes: Any) -> EngineEntry:
    """An entry whose thresholds are 0.5 for every label."""
    entry = EngineEntry(
        name=name,
        backend=dataclasses.asdict(backend),
        precision="fp32",
        file=files[0],
        files=files,
        thresholds=(0.5, 0.5, 0.5),
        thresholds_from=name,
    )
    return dataclasses.replace(entry, **changes)


def manifest(*engines: EngineEntry, **changes: Any) -> Manifest:
    """A manifest with everything filled in."""
    fields: dict[str, Any] = {
        "recipe": "colours",
        "recipe_hash": "c0ffee" * 10,
        "labels": LABELS,
        "image_px": PX,
        "preprocessing": dict(PREPROCESSING),
        "composed": True,
        "measured": False,
        "provenance": "drawn by a test",
        "licences": ("Apache-2.0",),
        "versions": {"onnx": onnx.__version__},
        "engines": engines,
    }
    return Manifest(**(fields | changes))


def write_plain(folder: Path, model: Path, **changes: Any) -> Path:
    """A bundle whose one engine is only bytes, for tests that open none; `model` is where they are written first."""
    model.write_bytes(b"model bytes")
    entry = engine("onnxruntime-fp32", OnnxRuntime(), ("models/fp32.onnx",))
    sources = {"models/fp32.onnx": model, "card.md": model}
    write_bundle(Parts(manifest=manifest(entry, **changes), sources=sources), folder)
    return folder


def write_colours(folder: Path, work: Path, **changes: Any) -> Path:
    """ONNX Runtime, OpenVINO, and a TensorRT plan that no machine of ours can open; `work` takes what is built."""
    work.mkdir(parents=True)
    model = write_onnx(work / "fp32.onnx")
    openvino = OpenVino(threads=1)
    compiled = openvino.compile(model, work / "engines")
    plan = work / "sm86.plan"
    plan.write_bytes(b"not a plan")
    sources = {"models/fp32.onnx": model, "engines/sm86.plan": plan}
    sources |= {f"engines/{file.name}": file for file in openvino.files(compiled)}
    inner = tuple(path for path in sources if path.endswith((".xml", ".bin")))
    inner = (f"engines/{compiled.name}", *(path for path in inner if path != f"engines/{compiled.name}"))
    engines = (
        engine("tensorrt-fp16-sm86", TensorRt(), ("engines/sm86.plan",), thresholds_from="onnxruntime-fp32"),
        engine("onnxruntime-fp32", OnnxRuntime(threads=1), ("models/fp32.onnx",)),
        engine("openvino-fp32", openvino, inner),
    )
    write_bundle(Parts(manifest=manifest(*engines, **changes), sources=sources), folder)
    return folder


def write_pictures(folder: Path, kind: str = "jpg") -> dict[str, Path]:
    """One plain picture a colour, 40 x 30 pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for name, colour in COLOURS.items():
        files[name] = folder / f"{name}.{kind}"
        Image.new("RGB", (40, 30), colour).save(files[name], quality=95)
    return files
