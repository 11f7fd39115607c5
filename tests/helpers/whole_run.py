"""The tiny recipe that runs the whole pipeline in tests."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from export.tagger.engine_choice import backend_of
from tests.helpers import drawings

EXPORT = """
  thresholds: {aim: precision, precision: 0.8, prior: 3}
  engines:
    - {name: onnxruntime-fp32, precision: fp32, backend: {kind: onnxruntime}}
    - {name: onnxruntime-int8, precision: int8_x86, backend: {kind: onnxruntime}}
    - {name: openvino-int8, precision: int8_openvino, backend: {kind: openvino}}
    - {name: tensorrt-fp16-sm86, precision: fp16, backend: {kind: tensorrt, compute_capability: SM86}}
"""  # of each kind one, as every engine costs seconds


def write_recipe(drawn: Path, folder: Path) -> None:
    recipe = drawings.write_recipe(drawn, folder)
    recipe.write_text(recipe.read_text().replace("export:\n", f"export:{EXPORT}"))


def facts(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def scored(folder: Path, entry: Any, pixels: np.ndarray) -> np.ndarray:
    with backend_of(entry).open(folder / entry.file) as session:
        return session(pixels)
