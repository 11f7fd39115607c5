"""Which engines are held against which, and one examined from end to end."""

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import doctor
from benchmarks.doctor import Built, Diagnosis, diagnose, pairs
from benchmarks.doctor.findings import Finding
from export.backends import OnnxRuntime, OpenVino, TensorRt
from export.precision.int8 import int8_x86
from tests.helpers.convolutions import write_convolutions


def built(name: str, precision: str, backend: Any) -> Built:
    return Built(name=name, precision=precision, backend=backend, file=Path(name))


def test_each_int8_engine_is_held_against_float_on_the_same_runtime(monkeypatch: Any) -> None:
    monkeypatch.setattr(
        TensorRt, "unavailable_reason", lambda backend: "no such GPU" if backend.compute_capability == "SM86" else None
    )
    engines = [
        built("a", "fp32", OnnxRuntime(threads=2)),
        built("b", "fp32", OnnxRuntime()),
        built("c", "int8_x86", OnnxRuntime()),
        built("d", "fp32", OpenVino(compute="f32", threads=2)),
        built("e", "int8_openvino", OpenVino()),
        built("f", "int8", TensorRt(compute_capability="device")),
        built("g", "fp16", OnnxRuntime()),
        built("h", "int8", TensorRt(compute_capability="SM86")),
    ]
    found, lacking = pairs(engines)
    assert [(int8.name, plain.name) for int8, plain in found] == [("c", "b")]
    assert lacking == {
        "e": "no fp32 engine of openvino to hold it against",
        "f": "tensorrt: its profile is not read",
        "h": "no such GPU",
    }


def test_from_end_to_end(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(doctor.diagnosis, "WARM_UP_S", 0.05)
    graph = write_convolutions(tmp_path / "fp32.onnx", "Relu")
    images = np.random.default_rng(1).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    quantised = int8_x86(graph, images, tmp_path / "int8_x86.onnx")
    backend = OnnxRuntime()
    int8, plain = (
        Built(
            name=f"onnxruntime-{file.stem}", precision=file.stem, backend=backend, file=backend.compile(file, tmp_path)
        )
        for file in (quantised, graph)
    )
    diagnosis = diagnose(int8, plain)
    assert (diagnosis.int8, diagnosis.plain) == ("onnxruntime-int8_x86", "onnxruntime-fp32")
    assert diagnosis.runtime.startswith("onnxruntime ")
    assert diagnosis.int8_ms > 0
    assert diagnosis.plain_ms > 0
    assert diagnosis.verdict.startswith(f"{diagnosis.plain_ms / diagnosis.int8_ms:.2f} times as fast as float")
    assert diagnosis.change
    assert diagnosis.findings


def test_the_text_names_the_slowest_layers() -> None:
    finding = Finding(cause="pairs", layers=tuple("abcdef"), share=0.314, text="6 pairs", change="mend them")
    told = {"int8": "i", "plain": "p", "runtime": "r 1, cpu", "verdict": "slow", "change": "mend"}
    diagnosis = Diagnosis(**told, int8_ms=2.0, plain_ms=1.0, findings=(finding,))
    assert str(diagnosis).splitlines() == [
        "i (r 1, cpu): 2.00 ms, p: 1.00 ms",
        "   31%  pairs: 6 pairs",
        "        a, b, c, d and 2 more",
        "  verdict: slow",
        "  change:  mend",
    ]
