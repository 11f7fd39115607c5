"""What holds for every backend of the union."""

import dataclasses
import hashlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from export.backends import Backend, OnnxRuntime, OpenVino, Session, TensorRt, host, on_all_cores, stamp
from export.errors import EngineError, MissingRuntimeError

GPU = pytest.mark.gpu
RUNNABLE = [
    pytest.param(OnnxRuntime(), id="onnxruntime"),
    pytest.param(OpenVino(), id="openvino"),
    pytest.param(OnnxRuntime(device="cuda"), id="onnxruntime-cuda", marks=GPU),
    pytest.param(TensorRt(compute_capability="device"), id="tensorrt", marks=GPU),
]
EVERY = [OnnxRuntime(), OnnxRuntime(device="cuda"), OpenVino(), TensorRt()]
OPTIONS = {
    "onnxruntime": {},
    "openvino": {"compress_to_fp16": False},
    "tensorrt": {"compute_capability": "device", "batch": [1, 1, 32], "tf32": False, "strongly_typed": True},
}
PACKAGES = {"onnxruntime": ("onnxruntime",), "openvino": ("openvino",), "tensorrt": ("tensorrt_rtx", "tensorrt")}


@pytest.fixture(scope="module", params=RUNNABLE)
def backend(request: pytest.FixtureRequest) -> Any:
    if request.param.unavailable_reason() is not None:
        pytest.skip(request.param.unavailable_reason())
    return request.param


@pytest.fixture(scope="module")
def engine(backend: Any, fp32: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiled: Path = backend.compile(fp32, tmp_path_factory.mktemp(backend.kind))
    return compiled


@pytest.fixture
def session(backend: Any, engine: Path) -> Iterator[Session]:
    with backend.open(engine) as opened:
        yield opened


def test_the_union_is_covered() -> None:
    assert {type(backend) for backend in EVERY} == set(get_args(Backend))


# 7 and 32 are more than the labels: a sum that OpenVINO fused with its bias read past the bias there.
@pytest.mark.parametrize("batch", [1, 2, 7, 32])
def test_agrees_with_torch(
    session: Session, images: NDArray[np.uint8], expected: NDArray[np.float32], batch: int
) -> None:
    scores = session(images[:batch])
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected[:batch], rtol=0, atol=1e-4)


def test_results_outlive_the_next_call(session: Session, images: NDArray[np.uint8]) -> None:
    first = session(images[:2])
    kept = first.copy()
    second = session(images[2:4])
    assert not np.array_equal(kept, second)
    np.testing.assert_array_equal(first, kept)
    session.close()
    np.testing.assert_array_equal(first, kept)


def test_a_view_of_images(session: Session, images: NDArray[np.uint8]) -> None:
    """Every other image, mirrored: memory that is not contiguous."""
    mirrored = images[:8:2, :, ::-1]
    np.testing.assert_allclose(session(mirrored), session(mirrored.copy()), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("images", "got"),
    [
        (np.zeros((1, 32, 32, 3), np.float32), r"float32 \(1, 32, 32, 3\)"),
        (np.zeros((32, 32, 3), np.uint8), r"uint8 \(32, 32, 3\)"),
        (np.zeros((1, 3, 32, 32), np.uint8), r"uint8 \(1, 3, 32, 32\)"),
        (np.zeros((1, 33, 32, 3), np.uint8), r"uint8 \(1, 33, 32, 3\)"),
        (np.zeros((0, 32, 32, 3), np.uint8), "0 images"),
    ],
)
def test_wrong_dtype_or_shape(session: Session, images: NDArray[Any], got: str) -> None:
    with pytest.raises(ValueError, match=rf"images: expected uint8 \(B, 32, 32, 3\).*got {got}"):
        session(images)


def test_a_closed_session(backend: Any, engine: Path, images: NDArray[np.uint8]) -> None:
    session = backend.open(engine)
    session.close()
    session.close()
    with pytest.raises(ValueError, match="expected an open session, got a closed one"):
        session(images[:1])


def test_says_what_it_runs_on(session: Session, backend: Any) -> None:
    ran = session.runtime_info
    assert all(dataclasses.astuple(ran))
    assert ran.placed == 1
    assert ran.compute == "f32", "the graph's products are float"
    assert ran.version.split()[0] in PACKAGES[backend.kind]
    assert ran.version.split()[1][0].isdigit()
    assert ran.device.lower() == getattr(backend, "device", ran.device).lower()


def test_its_files_are_there(backend: Any, engine: Path) -> None:
    files = backend.files(engine)
    assert (files[0], files[-1]) == (engine, stamp.path_of(engine))
    assert all(file.is_file() for file in files)


def test_its_stamp(backend: Any, engine: Path, session: Session, fp32: Path) -> None:
    stamped = stamp.read(engine)
    assert stamped.runtime == session.runtime_info.version
    assert stamped.options == OPTIONS[backend.kind]
    assert (stamped.graph, stamped.precision) == (hashlib.sha256(fp32.read_bytes()).hexdigest(), "fp32")


def test_without_its_stamp_or_with_another_runtimes(backend: Any, engine: Path, tmp_path: Path) -> None:
    files = [Path(shutil.copy(file, tmp_path)) for file in backend.files(engine)]
    files[-1].unlink()
    with pytest.raises(EngineError, match=rf"{engine.name}: expected its stamp"):
        backend.open(files[0])
    stamp.write(files[0], dataclasses.replace(stamp.read(engine), runtime="abacus 1.0"))
    with pytest.raises(EngineError, match=r"expected .*got .*abacus 1\.0"):
        backend.open(files[0])


@pytest.mark.parametrize("backend", EVERY, ids=lambda backend: backend.kind)
def test_a_foreign_engine(backend: Any, fp32: Path, tmp_path: Path) -> None:
    right = {"onnxruntime": ".onnx", "openvino": ".xml", "tensorrt": ".plan"}[backend.kind]
    random = tmp_path / f"random{right}"
    random.write_bytes(b"not an engine")
    for foreign in (fp32.with_suffix(".gone") if right == ".onnx" else fp32, random, tmp_path / f"gone{right}"):
        if backend.unavailable_reason() is None or foreign is not random or backend.kind == "tensorrt":
            with pytest.raises(EngineError, match=rf"{foreign.name}.*expected .*got"):
                backend.open(foreign)


@pytest.mark.parametrize("backend", [OnnxRuntime(), OpenVino()], ids=lambda backend: backend.kind)
def test_a_graph_that_is_no_tagger(backend: Any, tmp_path: Path) -> None:
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 8, 8])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 3, 8, 8])
    graph = helper.make_graph([helper.make_node("Relu", ["images"], ["scores"])], "g", [images], [scores])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "o.onnx")
    with pytest.raises(
        EngineError, match=r"o.onnx: expected uint8 \(batch, H, W, 3\) to float scores \(batch, L\), got"
    ):
        backend.compile(tmp_path / "o.onnx", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("backend", EVERY, ids=lambda backend: backend.kind)
def test_a_runtime_that_is_not_installed(
    backend: Any, fp32: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in PACKAGES[backend.kind]:
        monkeypatch.setitem(sys.modules, name, None)
    reason = backend.unavailable_reason()
    assert reason is not None
    assert "pip install" in reason
    if backend.kind != "tensorrt":
        with pytest.raises(MissingRuntimeError, match="pip install"):
            backend.open_graph(fp32)
    with pytest.raises(MissingRuntimeError, match="pip install"):
        backend.compile(fp32, tmp_path / "out")
    assert not list(tmp_path.rglob("*.*")), "nothing was written"


@pytest.mark.parametrize("backend", EVERY, ids=lambda backend: backend.kind)
def test_can_be_rebuilt_from_its_fields(backend: Any) -> None:
    assert type(backend)(**dataclasses.asdict(backend)) == backend


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        (OnnxRuntime, "device", "tpu"),
        (OnnxRuntime, "threads", 0),
        (OpenVino, "threads", 100_000),
        (OpenVino, "compute", "int8"),
        (OpenVino, "device", "cpu"),
        (OpenVino, "device", "CPU,GPU"),
        (TensorRt, "compute_capability", "SM87"),
    ],
)
def test_fields_out_of_range(kind: Any, field: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"{kind.kind}.{field}: expected .*got '?{value}"):
        kind(**{field: value})


def test_many_images_are_scored_on_all_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "usable_cores", lambda: 3)
    assert on_all_cores(OnnxRuntime(device="cuda")) == OnnxRuntime(device="cuda", threads=3)
    assert on_all_cores(OpenVino(compute="bf16", threads=8)) == OpenVino(compute="bf16", threads=3)
    assert on_all_cores(TensorRt(compute_capability="SM86")) == TensorRt(compute_capability="SM86")
