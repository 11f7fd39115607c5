"""A bundle whose scores depend on where a pixel is, and photos that programs in other languages may read wrongly."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import openvino
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from mlkd.core import images
from tests.helpers import bundles

WEIGHTS = np.random.default_rng(0).normal(0, 0.3, (bundles.PX**2 * 3, len(bundles.LABELS))).astype(np.float32)
WEIGHTS -= WEIGHTS.mean(axis=0)  # scores near 0.5, where a grey level counts most


def write_positions(work: Path) -> None:
    """Write a bundle whose scores depend on where a pixel is, with a tag for every label."""
    folder = work / "bundle"
    shutil.copytree(bundles.write_colours(work / "colours", work / "parts"), folder)
    nodes = [
        helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["float"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["scores"]),
    ]
    shape = ["batch", bundles.PX, bundles.PX, 3]
    graph = helper.make_graph(
        nodes,
        "positions",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", len(bundles.LABELS)])],
        [numpy_helper.from_array(WEIGHTS / 255, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "models/fp32.onnx")
    (folder / "engines/fp32.xml").unlink()
    (folder / "engines/fp32.bin").unlink()
    converted_model = openvino.convert_model(folder / "models/fp32.onnx")
    openvino.save_model(converted_model, folder / "engines/fp32.xml", compress_to_fp16=False)
    set_thresholds(folder, 0)


def redescribed(bundle: Path, folder: Path, **fields: object) -> Path:
    """Copy a bundle; some fields of its tagger.json have other values."""
    shutil.copytree(bundle, folder)
    tagger = json.loads((folder / "tagger.json").read_text())
    (folder / "tagger.json").write_text(json.dumps(tagger | fields))
    return folder


def set_thresholds(folder: Path, threshold: float) -> None:
    tagger = json.loads((folder / "tagger.json").read_text())
    for model in tagger["models"]:
        model["thresholds"] = [threshold] * len(tagger["labels"])
    (folder / "tagger.json").write_text(json.dumps(tagger))


def draw_photos(folder: Path) -> list[Path]:
    """A large JPEG, a progressive one and a PNG in all EXIF orientations, a transparent and a tall PNG, a CMYK JPEG."""
    Image.fromarray(_smooth(1, 320, 400, grid=50)).save(folder / "large.jpg")
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[images.ORIENTATION] = orientation
        turned = Image.fromarray(_smooth(2, 30, 41))
        turned.save(folder / f"turned{orientation}.jpg", exif=exif, progressive=True, subsampling=0)
        turned.save(folder / f"turned{orientation}.png", exif=exif)
    Image.fromarray(_smooth(3, 37, 50, channels=4)).save(folder / "transparent.png")
    Image.fromarray(_smooth(5, 90, 30)).save(folder / "tall.png")
    Image.fromarray(_smooth(4, 37, 50)).convert("CMYK").save(folder / "cmyk.jpg")
    return sorted(folder.iterdir())


def _smooth(seed: int, height: int, width: int, channels: int = 3, grid: int = 6) -> NDArray[np.uint8]:
    coarse = np.random.default_rng(seed).integers(0, 256, (grid, grid, channels), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def expected(photo: Path) -> dict[str, float]:
    logits = images.load(photo, bundles.PX).reshape(-1) / 255 @ WEIGHTS.astype(np.float64)
    return dict(zip(bundles.LABELS, 1 / (1 + np.exp(-logits)), strict=True))
