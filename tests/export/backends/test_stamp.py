import json
import platform
from pathlib import Path
from typing import Any

import onnx
import pytest

from export.backends import stamp
from export.backends.stamp import Stamp
from export.errors import EngineError
from mlkd.core.files import sha256_of
from tests.helpers import bundles


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    """A stamped engine."""
    file = tmp_path / "int8.plan"
    file.write_bytes(b"engine")
    stamp.write(file, made(options={"threads": 1, "compute": "f32"}))
    return file


def made(**changes: Any) -> Stamp:
    fields = {"runtime": "openvino 2026.4", "device": "CPU", "precision": "fp32", "options": {}, "graph": "0" * 64}
    return Stamp(**(fields | changes))


def test_a_stamp_lies_beside_its_engine_and_is_read_back(engine: Path) -> None:
    assert stamp.path_of(engine) == engine.with_name("int8.plan.stamp.json")
    found = stamp.read(engine)
    assert found == made(options={"compute": "f32", "threads": 1})
    assert found.os == f"{platform.system()} {platform.machine()}"


def test_equal_stamps_have_equal_bytes(engine: Path) -> None:
    first = stamp.path_of(engine).read_bytes()
    assert stamp.write(engine, made(options={"compute": "f32", "threads": 1})).read_bytes() == first
    assert stamp.write(engine, made()).read_bytes() != first


def test_an_engine_without_a_stamp_is_refused(engine: Path) -> None:
    stamp.path_of(engine).unlink()
    with pytest.raises(EngineError, match=r"int8.plan: expected its stamp int8.plan.stamp.json.*got none; export"):
        stamp.read(engine)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.pop("graph"), "expected the fields .*graph.*, got device, instruction_set, options"),
        (lambda data: data.update(extra=1), "expected the fields .*, got .*extra"),
        (lambda data: data.update(device=86), "device: expected str, got int"),
        (lambda data: data.update(options=[]), "options: expected dict, got list"),
    ],
)
def test_a_stamp_with_other_fields_is_refused(engine: Path, change: Any, message: str) -> None:
    data = json.loads(stamp.path_of(engine).read_text())
    change(data)
    stamp.path_of(engine).write_text(json.dumps(data))
    with pytest.raises(EngineError, match=rf"int8.plan.stamp.json: {message}"):
        stamp.read(engine)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b"\xff\xfe", b"null"])
def test_a_damaged_stamp_is_refused(engine: Path, content: bytes) -> None:
    stamp.path_of(engine).write_bytes(content)
    with pytest.raises(EngineError, match=r"int8.plan.stamp.json: expected a .*JSON.*got.*; export"):
        stamp.read(engine)


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        ("processor\t: 0\nflags\t\t: sse2 avx2 avx512f avx512_vnni amx_int8\n", "amx_int8"),
        ("flags\t\t: sse2 avx2 avx512f avx512_vnni\n", "avx512_vnni"),
        ("flags\t\t: sse2 avx2 avx_vnni\n", "avx_vnni"),
        ("flags\t\t: sse2 avx2 avx512f\n", "avx512f"),
        ("flags\t\t: sse2 avx2\n", "avx2"),
        ("Features\t: fp asimd crc32 asimddp\n", "neon_dotprod"),
        ("Features\t: fp asimd crc32\n", "neon"),
        ("flags\t\t: sse2 avx2x\n", platform.machine()),
        ("model name\t: avx2\n", platform.machine()),
    ],
)
def test_the_instruction_set_is_what_int8_runs_on(tmp_path: Path, cpuinfo: str, expected: str) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(cpuinfo)
    assert stamp.instruction_set(tmp_path) == expected


def test_an_emulated_processor_is_not_called_by_its_hosts_features(tmp_path: Path) -> None:
    """QEMU's user mode shows the host's /proc/cpuinfo, numpy asks the processor that it runs on."""
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("flags\t\t: sse2 avx2 avx512f avx512_vnni avx_vnni amx_int8\n")
    found = {"AVX2": True, "AVX512F": False, "AVX512VNNI": False, "GFNI": False, "ASIMD": False, "ASIMDDP": False}
    assert stamp.instruction_set(tmp_path, found) == "avx2"
    arm = dict.fromkeys(found, False) | {"ASIMD": True, "ASIMDDP": True}
    assert stamp.instruction_set(tmp_path, arm) == "neon_dotprod"


def test_a_system_that_does_not_say_its_instruction_set_is_called_by_its_architecture(tmp_path: Path) -> None:
    assert stamp.instruction_set(tmp_path) == platform.machine()


def test_the_origin_is_the_onnx(tmp_path: Path) -> None:
    model, network = bundles.write_onnx(tmp_path / "fp32.onnx"), tmp_path / "int8.xml"
    assert stamp.origin(model) == sha256_of(model)
    network.write_text("<net/>")
    assert stamp.origin(network) == sha256_of(network)
    stamp.write(network, made(graph=sha256_of(model)))
    assert stamp.origin(network) == sha256_of(model)
    stamp.write(model, made(graph="f" * 64))  # an ONNX is its own origin, whatever lies beside it
    assert stamp.origin(model) == sha256_of(model)


@pytest.mark.parametrize("precision", ["fp32", "int8_x86", "é" * 60])
def test_the_precision_is_read_without_the_package_onnx(tmp_path: Path, precision: str) -> None:
    model = onnx.load(bundles.write_onnx(tmp_path / "fp32.onnx"))
    labels = "\n\tprecision"  # text of another entry, as in its JSON
    onnx.helper.set_model_props(model, {"labels": labels, "precision": precision, "recipe": "x" * 300})
    onnx.save(model, tmp_path / "other.onnx")
    assert stamp.precision_of(tmp_path / "other.onnx") == precision


def test_the_precision_of_what_does_not_say_it_is_unknown(tmp_path: Path) -> None:
    whole = bundles.write_onnx(tmp_path / "fp32.onnx").read_bytes()
    bare = onnx.load(tmp_path / "fp32.onnx")
    del bare.metadata_props[:]
    cut = b"\n\tprecision\x12\x01\xe2"  # a part of a character
    for content in (bare.SerializeToString(), whole[:-3], b"not a graph", b"\xff" * 40, b"\x72\x80", cut, b""):
        (tmp_path / "other.onnx").write_bytes(content)
        assert stamp.precision_of(tmp_path / "other.onnx") == "unknown"
