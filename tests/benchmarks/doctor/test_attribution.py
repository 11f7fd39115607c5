"""Layers of a real exported student in both runtimes, by part of the network and kind of operation."""

import platform
from collections import defaultdict
from pathlib import Path

import pytest
from torch import nn

from benchmarks.doctor import Built, layer_times, openvino, profile
from benchmarks.doctor.attribution import attribute, name_parts, read_operators
from benchmarks.doctor.diagnosis import read_layers
from benchmarks.doctor.layers import Layer
from benchmarks.sections import EngineTimes
from export.backends import Backend, OnnxRuntime, OpenVino, TensorRt
from export.onnx.to_onnx import to_onnx
from export.precision.int8 import int8_x86
from export.precision.int8_openvino import int8_openvino
from mlkd.models.config import Model
from mlkd.models.cost import cost
from mlkd.models.heads import LabelDecoder, Pooled
from mlkd.models.network import TaggerNet
from tests.helpers import nets

BACKBONE, HEAD = "test_efficientnet", LabelDecoder(embedding=32, heads=2, feed_forward=32)


@pytest.fixture(scope="module")
def student() -> TaggerNet:
    return nets.tagger(BACKBONE, HEAD, nets.images(8))


@pytest.fixture(scope="module")
def graph(student: TaggerNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("student") / "fp32.onnx"
    return to_onnx(student, nets.LABELS, nets.PX, out, recipe_hash="none")


@pytest.fixture(scope="module")
def engines(graph: Path) -> dict[str, Built]:
    images, folder = nets.images(8), graph.parent
    openvino_int8 = int8_openvino(graph, images, folder / "int8_openvino.xml")
    compiled = {name: folder / name for name in ("openvino-fp32", "openvino-int8")}
    made: dict[str, tuple[Path, Backend]] = {
        "onnxruntime-fp32": (graph, OnnxRuntime()),
        "onnxruntime-int8": (int8_x86(graph, images, folder / "int8_x86.onnx"), OnnxRuntime()),
        "openvino-fp32": (OpenVino().compile(graph, compiled["openvino-fp32"]), OpenVino()),
        "openvino-int8": (OpenVino().compile(openvino_int8, compiled["openvino-int8"]), OpenVino()),
    }
    return {name: Built(name=name, precision="", backend=by, file=file) for name, (file, by) in made.items()}


@pytest.fixture(autouse=True)
def fewer_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino, "ROUNDS", 2)


def stages(student: TaggerNet) -> list[str]:
    return [f"blocks.{at}" for at in range(len(student.backbone.get_submodule("blocks")))]


def shares(times: EngineTimes, kind: str) -> dict[str, float]:
    found: dict[str, float] = defaultdict(float)
    for part in times.parts:
        found[getattr(part, kind)] += part.share
    return found


def test_parts_by_name_and_place() -> None:
    names = ["tagger/Cast_0", "backbone.conv_stem/Conv_0", "backbone.layer1.0.bn1/Conv_0", "backbone.stages_1/Add_0"]
    names += ["backbone.norm/Conv_0", "tagger/Reshape_0", "head.key/MatMul_0", "head/Add_0", "tagger/Sigmoid_0"]
    expected = ["preprocessing", "stem", "layer1", "stages_1", "last layers", *["head"] * 4]
    assert name_parts(names) == expected


def test_a_dozen_equal_blocks_are_one_part_and_a_backbone_without_stages_another() -> None:
    names = [
        "backbone.patch/Conv_0",
        *(f"backbone.blocks.{at}.mlp/MatMul_0" for at in range(12)),
        "backbone.norm/Add_0",
    ]
    assert name_parts(names) == ["stem", *["blocks"] * 12, "last layers"]
    assert name_parts(["tagger/Cast_0", "backbone.a/Conv_0", "backbone.b/Conv_0", "head/Gemm_0"]) == [
        "preprocessing",
        "backbone",
        "backbone",
        "head",
    ]


@pytest.mark.parametrize("backbone", [BACKBONE, pytest.param("test_resnet", marks=pytest.mark.slow)])
def test_multiply_adds_are_those_that_torch_counts(backbone: str, tmp_path: Path) -> None:
    tagger = nets.tagger(backbone, Pooled(), nets.images(8))
    operators = read_operators(to_onnx(tagger, nets.LABELS, nets.PX, tmp_path / "a.onnx", recipe_hash="none")).values()
    expected = cost(Model(backbone=backbone, image_px=nets.PX, head=Pooled()), len(nets.LABELS))
    head = sum(one.multiply_adds for one in operators if one.part == "head")
    assert head == expected.head_multiply_adds
    assert sum(one.multiply_adds for one in operators) == expected.multiply_adds


def test_kinds_of_convolution_are_those_of_the_modules(student: TaggerNet, graph: Path) -> None:
    modules = [module for module in student.backbone.modules() if isinstance(module, nn.Conv2d)]
    deep = [module for module in modules if module.groups == module.in_channels > 1]
    narrow = [module for module in modules if module not in deep and module.kernel_size == (1, 1)]
    found = [one.operation for one in read_operators(graph).values()]
    assert found.count("depthwise convolution") == len(deep) > 0
    assert found.count("1x1 convolution") == len(narrow) > 0
    assert found.count("other convolution") == len(modules) - len(deep) - len(narrow) > 0


@pytest.mark.parametrize(
    "name",
    [
        "onnxruntime-int8",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("onnxruntime-fp32", "openvino-fp32", "openvino-int8")
        ),
    ],
)
def test_every_runtime_keeps_the_parts(name: str, engines: dict[str, Built], graph: Path, student: TaggerNet) -> None:
    times = layer_times.attribute_layers(engines[name], graph)
    by_part, by_operation = shares(times, "part"), shares(times, "operation")
    assert sum(by_part.values()) == pytest.approx(1)
    known = ["preprocessing", "stem", *stages(student), "last layers", "head"]
    assert [part for part in by_part if part in known] == known, "in the order of the graph"
    assert all(by_part[part] > 0 for part in known)
    assert by_part["other"] < 0.1, "shapes and what the runtime made of a layer norm"
    assert by_part["conversions"] == by_operation["conversion"]
    with_depthwise = {one.part for one in read_operators(graph).values() if one.operation == "depthwise convolution"}
    assert {one.part for one in times.parts if one.operation == "depthwise convolution" and one.share} == with_depthwise
    assert by_operation["other convolution"] > 0
    assert by_operation["1x1 convolution"] > 0
    assert by_operation["matrix product"] > 0


@pytest.mark.skipif(platform.machine() != "x86_64", reason="kernels of x86")
def test_what_a_runtime_names_anew_is_called_after_our_operators(engines: dict[str, Built], graph: Path) -> None:
    fused = next(one for one in read_layers(engines["onnxruntime-int8"]) if one.operator == "SkipLayerNormalization")
    assert fused.name in read_operators(graph)
    normalised = next(one for one in read_layers(engines["openvino-fp32"]) if one.operator == "MulAdd")
    assert normalised.name == "tagger/Div_0"


def layer(name: str, operator: str, role: str = "other", milliseconds: float = 1.0) -> Layer:
    return Layer(name=name, operator=operator, computes="f32", role=role, milliseconds=milliseconds)  # type: ignore[arg-type]


def test_what_the_graph_does_not_name_is_other_or_a_conversion(graph: Path) -> None:
    layers = [
        layer("MVN_319", "MVN", milliseconds=3.0),
        layer("Gemm_7", "Gemm", "product", 2.0),
        layer("InsertedCast", "Cast"),
        layer("tagger/Cast_0", "Cast"),
        layer("head/Add_0_f32_u8_head/Add_1", "Reorder", "pair"),
        layer("ReorderOutput", "ReorderOutput", "reorder", 2.0),
    ]
    found = {(one.part, one.operation): one.share for one in attribute(layers, read_operators(graph)) if one.share}
    assert found == {
        ("preprocessing", "rest"): 0.1,
        ("conversions", "conversion"): 0.4,
        ("other", "rest"): 0.3,
        ("other", "matrix product"): 0.2,
    }
    with pytest.raises(ValueError, match="expected times of layers"):
        attribute([], read_operators(graph))


def test_an_engine_is_profiled_in_a_process_of_its_own(engines: dict[str, Built], graph: Path) -> None:
    times = profile(engines["onnxruntime-fp32"], graph)
    assert times.reason is None
    assert times.profiled_ms is not None
    assert times.profiled_ms > 0
    assert sum(part.share for part in times.parts) == pytest.approx(1)


def test_an_engine_without_a_profile_says_why(graph: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"no graph")
    broken = profile(Built(name="bad", precision="fp32", backend=OnnxRuntime(), file=tmp_path / "bad.onnx"), graph)
    assert not broken.parts
    assert broken.reason is not None
    assert "bad.onnx" in broken.reason
    on_gpu = profile(Built(name="gpu", precision="fp32", backend=OnnxRuntime(device="cuda"), file=graph), graph)
    assert on_gpu.reason == "onnxruntime on cuda: its profile times the launch of a kernel, not the kernel"
    plan = profile(Built(name="trt", precision="fp16", backend=TensorRt(), file=graph), graph)
    assert plan.reason
