"""TensorRT's real parser and builder, which need no GPU; running an engine does."""

import dataclasses
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from export.backends import TensorRt, cuda, stamp, tensorrt, tensorrt_build
from export.errors import EngineError, MissingRuntimeError
from mlkd.core.files import sha256_of
from tests.helpers.convolutions import write_convolutions
from tests.helpers.small_disk import largest_file

rtx = pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX has wheels for x86-64 Linux only")
LOGGER = "export.backends.tensorrt_build"


@pytest.fixture(scope="module")
def engine(halved: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return TensorRt().compile(halved, tmp_path_factory.mktemp("engine"))


def test_builds_fp16_for_a_gpu_that_is_not_there(engine: Path) -> None:
    assert engine.name == "fp16-sm86.plan"
    assert engine.stat().st_size > 100_000


def test_builds_int8(quantized: Path, tmp_path: Path) -> None:
    built = TensorRt(compute_capability="SM89").compile(quantized, tmp_path)
    assert built.name == "int8-sm89.plan"
    assert (stamp.read(built).precision, stamp.read(built).device) == ("int8", "SM89")


def test_the_stamp_says_what_the_plan_is_bound_to(engine: Path, halved: Path) -> None:
    assert TensorRt().files(engine) == (engine, engine.with_name("fp16-sm86.plan.stamp.json"))
    assert stamp.read(engine) == stamp.Stamp(
        runtime=f"tensorrt_rtx {rtx.__version__}",
        device="SM86",
        precision="fp16",
        options={"compute_capability": "SM86", "batch": [1, 1, 32], "tf32": False, "strongly_typed": True},
        graph=sha256_of(halved),
    )


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"runtime": "tensorrt_rtx 1.6.0"}, r"library: expected tensorrt_rtx .*, got a plan for tensorrt_rtx 1.6.0"),
        ({"runtime": "tensorrt 10.3.0"}, r"library: expected tensorrt_rtx .*, got a plan for tensorrt 10.3.0"),
        ({"os": "Windows AMD64"}, "system: expected Linux .*, got a plan for Windows AMD64"),
        ({"device": "SM89"}, "GPU: expected SM86, got a plan for SM89; rebuild it from its ONNX"),
    ],
)
def test_a_foreign_or_stale_plan_is_refused_unread(
    engine: Path, tmp_path: Path, gpu: Callable[[str], None], changed: dict[str, str], reason: str
) -> None:
    copy = tmp_path / engine.name
    copy.write_bytes(b"code that must not be loaded")
    stamp.write(copy, dataclasses.replace(stamp.read(engine), **changed))
    gpu("SM86")
    with pytest.raises(EngineError, match=reason):
        TensorRt().open(copy)


def test_a_plan_without_a_stamp(engine: Path, tmp_path: Path) -> None:
    copy = tmp_path / engine.name
    copy.write_bytes(engine.read_bytes())
    with pytest.raises(EngineError, match=r"expected its stamp fp16-sm86.plan.stamp.json beside it, got none"):
        TensorRt().open(copy)


def test_no_room_leaves_nothing(halved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt, "build", lambda *_: bytes(100_000))
    with largest_file(64_000), pytest.raises(OSError, match=r"expected room for an engine, got: .*free some space"):
        TensorRt().compile(halved, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_messages_go_to_the_one_logger(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    held = rtx.Builder(tensorrt_build.listen(rtx)[0])
    with caplog.at_level(logging.DEBUG, logger=LOGGER):
        TensorRt().compile(write_convolutions(tmp_path / "small.onnx", "Relu"), tmp_path)
    assert [record for record in caplog.records if record.name == LOGGER]
    assert "logger is ignored" not in caplog.text
    del held


def test_without_a_gpu_it_says_so(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "LIBRARY", "libcuda-that-is-not-there.so.1")
    assert "expected an NVIDIA driver" in str(TensorRt().unavailable_reason())
    with pytest.raises(MissingRuntimeError, match="run it on a machine with an NVIDIA GPU"):
        TensorRt().open(engine)


def test_building_for_this_machine_wants_its_gpu(halved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "LIBRARY", "libcuda-that-is-not-there.so.1")
    with pytest.raises(
        MissingRuntimeError, match=r"expected an NVIDIA driver .*run it on a machine with an NVIDIA GPU"
    ):
        TensorRt(compute_capability="device").compile(halved, tmp_path)


@pytest.mark.parametrize(
    ("capability", "step"),
    [("SM86", r"pip install tensorrt-rtx-cu13$"), ("device", r"pip install tensorrt \(a Jetson")],
)
def test_building_without_the_library(
    halved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capability: Any, step: str
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(MissingRuntimeError, match=step):
        TensorRt(compute_capability=capability).compile(halved, tmp_path)


def test_another_gpu_is_said_before_anything_is_opened(gpu: Callable[[str], None]) -> None:
    gpu("SM89")
    assert TensorRt(compute_capability="SM89").unavailable_reason() is None
    assert "expected a GPU of SM86, got SM89" in str(TensorRt().unavailable_reason())


def test_a_gpu_that_only_the_full_library_knows(gpu: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    gpu("SM87")
    assert "expected the package tensorrt for SM87" in str(TensorRt(compute_capability="device").unavailable_reason())
