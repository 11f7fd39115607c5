"""The references have what a reader compares with: int8 of each runtime on the CPU, and one float engine."""

import dataclasses

from pipeline.recipe.reference_engines import select_engines
from pipeline.recipe.schema import load_recipe


def test_each_runtime_has_int8_and_one_has_float() -> None:
    names = [engine.name for engine in select_engines(load_recipe("scenes"))]
    assert names == ["onnxruntime-fp32", "onnxruntime-int8", "openvino-int8"]


def test_all_references_have_float_engines_of_each_runtime() -> None:
    recipe = load_recipe("scenes")
    recipe = dataclasses.replace(recipe, bench=dataclasses.replace(recipe.bench, all_references=True))
    names = [engine.name for engine in select_engines(recipe)]
    assert names == ["onnxruntime-fp32", "onnxruntime-int8", "openvino-fp32", "openvino-int8"]
