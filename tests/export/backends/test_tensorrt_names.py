"""Every name of TensorRT's API that the backend uses is there in version 10, in 11 and in TensorRT for RTX.

tensorrt_names.json holds what the packages `tensorrt-cu12-bindings` 10.3.0 (as in JetPack 6.1) and
`tensorrt-cu13-bindings` 11.4.0.106 offer: imported over empty libraries and listed, never called.  Its operators are
those that the parser's own documentation of 10.1 marks as supported.
"""

import ast
import functools
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import onnx
import pytest

from export.backends import TensorRt, tensorrt, tensorrt_build, tensorrt_caches

rtx = pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX has wheels for x86-64 Linux only")

Name = tuple[str, str]  # class and member; no class for the module's own
LISTS = json.loads(Path(__file__).with_name("tensorrt_names.json").read_text(encoding="utf-8"))
VERSIONS = ["tensorrt 10.3.0", "tensorrt 11.4.0.106"]
# What the variables of each file hold, and what the methods return that are not kept in a variable.
HOLDS = {
    "library": "", "builder": "Builder", "network": "INetworkDefinition", "parser": "OnnxParser",
    "error": "ParserError", "config": "IBuilderConfig", "profile": "IOptimizationProfile", "images": "ITensor",
    "tensor": "ITensor", "layer": "ILayer", "cache": "ITimingCache",
    "self._runtime": "Runtime", "self._engine": "ICudaEngine", "self._context": "IExecutionContext",
    "self._config": "IRuntimeConfig", "self._cache": "IRuntimeCache",
}  # fmt: skip
RETURNS = {"get_output": "ITensor", "get_input": "ITensor", "get_layer": "ILayer", "get_error": "ParserError"}
ONLY_RTX = {
    ("IBuilderConfig", "num_compute_capabilities"), ("IBuilderConfig", "set_compute_capability"),
    ("", "ComputeCapability"), ("ICudaEngine", "create_runtime_config"),
    ("IRuntimeConfig", "create_runtime_cache"), ("IRuntimeConfig", "set_runtime_cache"),
    ("IRuntimeCache", "deserialize"), ("IRuntimeCache", "serialize"),
}  # fmt: skip


@pytest.mark.parametrize("version", VERSIONS)
def test_the_full_library_has_every_name(version: str) -> None:
    assert sorted(name for name in used() - ONLY_RTX if not listed(version, name)) == []


def test_tensorrt_for_rtx_has_every_name() -> None:
    owners = {owner: rtx if owner == "" else getattr(rtx, owner) for owner, _ in used()}
    assert sorted(name for name in used() if not hasattr(owners[name[0]], name[1])) == []


def test_the_sources_were_understood() -> None:
    """The names of running an engine, which no machine without a GPU can trace."""
    assert {
        ("Runtime", "deserialize_cuda_engine"),
        ("ICudaEngine", "create_execution_context"),
        ("ICudaEngine", "get_tensor_profile_shape"),
        ("IExecutionContext", "execute_async_v3"),
        ("IExecutionContext", "set_tensor_address"),
        ("IBuilderConfig", "set_timing_cache"),
        ("ITimingCache", "serialize"),
        ("NetworkDefinitionCreationFlag", "STRONGLY_TYPED"),
        *ONLY_RTX,
    } <= used()


def test_every_call_of_a_build_is_among_them(fp32: Path, tmp_path: Path) -> None:
    """Traced, not read: what a real build calls, by the bindings' own description."""
    called = traced(lambda: TensorRt().compile(fp32, tmp_path))
    assert ("Builder", "build_serialized_network") in called
    assert ("IBuilderConfig", "clear_flag") in called, "TF32 would round what the graph has in fp32"
    assert called <= used()


def test_a_name_that_is_gone_is_noticed() -> None:
    assert not listed("tensorrt 11.4.0.106", ("NetworkDefinitionCreationFlag", "EXPLICIT_BATCH"))
    assert not listed("tensorrt 11.4.0.106", ("BuilderFlag", "FP16"))
    assert not listed("tensorrt 10.3.0", ("IBuilderConfig", "set_compute_capability"))


def test_version_10_documents_every_operator_of_a_graph(fp32: Path, halved: Path, quantized: Path) -> None:
    operators = {node.op_type for graph in (fp32, halved, quantized) for node in onnx.load(graph).graph.node}
    assert operators - set(LISTS["operators of onnx-tensorrt 10.1"].split()) == set()


def listed(version: str, name: Name) -> bool:
    return name[1] in LISTS[version].get(name[0], "").split()


@functools.cache
def used() -> set[Name]:
    """Every attribute that the backend's sources take of an object of TensorRT."""
    found: set[Name] = set()
    for module in (tensorrt, tensorrt_build, tensorrt_caches):
        holds = HOLDS | ({"engine": "ICudaEngine"} if module is tensorrt_caches else {})
        found |= set(_attributes(ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8")), holds))
    return {name for name in found if not name[1].startswith("__")}


def _attributes(tree: ast.AST, holds: dict[str, str]) -> Iterator[Name]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute):
            continue
        value = node.value
        if (owner := holds.get(ast.unparse(value))) is not None:
            yield owner, node.attr
        elif isinstance(value, ast.Attribute) and holds.get(ast.unparse(value.value)) == "":
            yield value.attr, node.attr  # a member of an enumeration of the module
        elif isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute) and value.func.attr in RETURNS:
            yield RETURNS[value.func.attr], node.attr


def traced(action: Callable[[], object]) -> set[Name]:
    """Class and name of the methods of the bindings that our files call meanwhile."""
    found: set[Name] = set()

    def profile(frame: FrameType, event: str, called: Any) -> None:
        if event == "c_call" and "export/backends/tensorrt" in frame.f_code.co_filename:
            signature = re.match(r"(\w+)\(self: tensorrt_rtx\S*\.(\w+)", called.__doc__ or "")
            if signature is not None:
                found.add((signature[2], signature[1]))

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        action()
    finally:
        sys.setprofile(before)
    return found
