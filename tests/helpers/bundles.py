"""A real bundle small enough for every test: three labels that say which colour fills an image."""

import contextlib
import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from export.backends import OnnxRuntime, OpenVino, TensorRt, stamp
from export.bundle.bundle import EngineEntry, Manifest, Parts, parts_of, write_bundle
from export.bundle.description import describe
from export.bundle.golden import Golden, write_golden
from mlkd.core.files import sha256_of
from mlkd.core.images import PREPROCESSING
from tests.helpers.once import Once

LABELS = ("red", "green", "blue")
PX = 16
COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "yellow": (255, 255, 0)}


def write_onnx(path: Path, gain: float = 12, labels: int = 3) -> Path:
    """uint8 (batch, PX, PX, 3) -> sigmoid(gain * mean colour - 6), (batch, labels); label n is that of n modulo 3."""
    channels = np.eye(3, dtype=np.float32)[:, np.arange(labels) % 3]
    weights = {"gain": channels * gain / 255, "bias": np.full(labels, -6, dtype=np.float32)}
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
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", labels])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"precision": "fp32"})
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def engine(name: str, backend: Any, files: tuple[str, ...], of: Path | None = None, **changes: Any) -> EngineEntry:
    """An entry whose thresholds are 0.5 for every label, tuned on the file `of`, without one on no file at all."""
    entry = EngineEntry(
        name=name,
        backend=dataclasses.asdict(backend),
        precision="fp32",
        file=files[0],
        files=files,
        graph=next((file for file in files if file.endswith(".onnx")), "models/fp32.onnx"),
        thresholds=(0.5, 0.5, 0.5),
        thresholds_from=name,
        thresholds_sha256=sha256_of(of) if of else "",
        expected_precision=(0.9, 0.8, None),
        expected_recall=(0.7, 0.6, None),
        tune_map=0.85,
        tune_ap=(0.9, 0.8, None),
    )
    return dataclasses.replace(entry, **changes)


def manifest(*engines: EngineEntry, **changes: Any) -> Manifest:
    """A manifest with everything filled in."""
    fields: dict[str, Any] = {
        "recipe": "colours",
        "recipe_hash": "c0ffee" * 10,
        "recipe_content": {"seed": 0},
        "labels": LABELS,
        "image_px": PX,
        "preprocessing": dict(PREPROCESSING),
        "composed": True,
        "measured": False,
        "provenance": "drawn by a test",
        "licences": ("Apache-2.0",),
        "weights": ("set by hand",),
        "tune_images": 20,
        "tune_positives": (5, 4, 0),
        "golden": ("golden/1.png",),
        "golden_expected": "golden/expected.npz",
        "versions": {"onnx": onnx.__version__},
        "engines": engines,
    }
    return Manifest(**(fields | changes))


def write_plain(folder: Path, model: Path, **changes: Any) -> Path:
    """A bundle whose one engine is only bytes, for tests that open none; `model` is where they are written first."""
    model.write_bytes(b"model bytes")
    entry = engine("onnxruntime-fp32", OnnxRuntime(), ("models/fp32.onnx",), model)
    sources = dict.fromkeys(("models/fp32.onnx", "card.md", "golden/1.png", "golden/expected.npz"), model)
    write_bundle(Parts(manifest=manifest(entry, **changes), sources=sources), folder)
    return folder


def shared_colours(once: Once) -> Path:
    """The bundle of `write_colours` for all test processes; read only."""
    return once("colours", lambda work: write_colours(work / "colours", work / "work")) / "colours"


def write_colours(folder: Path, work: Path, **changes: Any) -> Path:
    """ONNX Runtime, OpenVINO, and a TensorRT plan that no machine of ours can open; `work` takes what is built."""
    work.mkdir(parents=True)
    model = write_onnx(work / "fp32.onnx")
    openvino, onnxruntime = OpenVino(threads=1), OnnxRuntime(threads=1)
    built = {
        "tensorrt-fp16-sm86": (TensorRt(), write_plan(work / "sm86.plan", model)),
        "onnxruntime-fp32": (onnxruntime, onnxruntime.files(onnxruntime.compile(model, work))),
        "openvino-fp32": (openvino, openvino.files(openvino.compile(model, work / "engines"))),
    }
    sources = {_inside(file): file for _, files in built.values() for file in files}
    engines = [
        engine(name, backend, tuple(map(_inside, files)), model if "plan" in files[0].suffix else files[0])
        for name, (backend, files) in built.items()
    ]
    engines[0] = dataclasses.replace(engines[0], thresholds_from="onnxruntime-fp32")
    images, expected = _golden(work, {name: built[name] for name in ("onnxruntime-fp32", "openvino-fp32")})
    sources |= {_inside(file): file for file in (*images, expected)}
    golden = {"golden": tuple(map(_inside, images)), "golden_expected": _inside(expected)}
    content = manifest(*engines, **(golden | changes))
    sources["tagger.json"] = work / "tagger.json"
    sources["tagger.json"].write_text(describe(content, Golden.read(work, content)), encoding="utf-8")
    write_bundle(Parts(manifest=content, sources=sources), folder)
    return folder


def _golden(work: Path, engines: dict[str, tuple[Any, tuple[Path, ...]]]) -> tuple[list[Path], Path]:
    """Images, and what the engines say of them; the plan's are those of ONNX Runtime."""
    with contextlib.ExitStack() as opened:
        sessions = {name: opened.enter_context(backend.open(files[0])) for name, (backend, files) in engines.items()}
        sessions["tensorrt-fp16-sm86"] = sessions["onnxruntime-fp32"]
        images = list(write_images(work / "images").values())
        thresholds = dict.fromkeys(sessions, (0.5, 0.5, 0.5))
        return write_golden(images, PX, work / "golden", sessions, labels=LABELS, thresholds=thresholds)


def write_plan(plan: Path, model: Path) -> tuple[Path, ...]:
    """No plan at all, but stamped as one of `model` for a GPU of 2020."""
    plan.write_bytes(b"not a plan")
    graph = sha256_of(model)
    made = stamp.Stamp(runtime="tensorrt_rtx 1.0", device="SM86", precision="fp32", options={}, graph=graph)
    return plan, stamp.write(plan, made)


def _inside(file: Path) -> str:
    if file.parent.name == "golden":
        return f"golden/{file.name}"
    return f"{'models' if '.onnx' in file.suffixes else 'engines'}/{file.name}"


def write_stale(colours: Path, work: Path) -> Path:
    """Another graph (gain 6), with the manifest in order, beside engines that were compiled from the one before."""
    graph = write_onnx(work / "fp32.onnx", gain=6)
    names = [entry.name for entry in parts_of(colours).manifest.engines]
    with OnnxRuntime().open_graph(graph) as session:
        _, expected = write_golden(
            list(write_images(work / "images").values()),
            PX,
            work / "golden",
            dict.fromkeys(names, session),
            labels=LABELS,
            thresholds=dict.fromkeys(names, (0.5, 0.5, 0.5)),
        )
    return changed(colours, work / "bundle", {"models/fp32.onnx": graph, "golden/expected.npz": expected})


def changed(bundle: Path, out: Path, sources: dict[str, Path], **entries: dict[str, Any]) -> Path:
    """The bundle with other files, and by kind other fields of its engines; thresholds go with their file."""
    parts = parts_of(bundle)
    all_sources = {**parts.sources, **sources}
    engines = [
        _retuned(dataclasses.replace(e, **entries.get(e.backend["kind"], {})), all_sources)
        for e in parts.manifest.engines
    ]
    manifest = dataclasses.replace(parts.manifest, engines=tuple(engines))
    write_bundle(Parts(manifest=manifest, sources=all_sources), out)
    return out


def _retuned(entry: EngineEntry, sources: Mapping[str, Path]) -> EngineEntry:
    """The entry with thresholds of its own file, if they were tuned on one that is gone."""
    own = [sha256_of(sources[path]) for path in (entry.file, entry.graph)]
    return entry if entry.thresholds_sha256 in own else dataclasses.replace(entry, thresholds_sha256=own[0])


def with_manifest(bundle: Path, out: Path, **changes: Any) -> Path:
    """The bundle with another manifest."""
    parts = parts_of(bundle)
    write_bundle(dataclasses.replace(parts, manifest=dataclasses.replace(parts.manifest, **changes)), out)
    return out


def restamped(bundle: Path, out: Path, work: Path, **changes: str) -> Path:
    """The bundle with another stamp beside OpenVINO's engine."""
    file = work / "stamp.json"
    data = json.loads((bundle / "engines/fp32.xml.stamp.json").read_text())
    file.write_text(json.dumps(data | changes))
    return changed(bundle, out, {"engines/fp32.xml.stamp.json": file})


def write_images(folder: Path, kind: str = "jpg") -> dict[str, Path]:
    """One plain image a colour, 40 x 30 pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for name, colour in COLOURS.items():
        files[name] = folder / f"{name}.{kind}"
        Image.new("RGB", (40, 30), colour).save(files[name], quality=95)
    return files
