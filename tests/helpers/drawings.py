"""Cut-outs and backgrounds that a test draws itself, and a recipe that is small enough for it."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

COLOURS = {"leaf": (40, 200, 60), "ruby": (220, 30, 50), "wave": (40, 70, 230)}

RECIPE = """
data:
  {{kind: scenes, image_px: 48, train: 64, val: 32, test: 24,
    cutouts: {folder}/cutouts, backgrounds: {folder}/backgrounds}}
views: {{count: 2}}
teacher:
  model:
    backbone: test_resnet
    image_px: 48
    head: {{kind: label_decoder, embedding: 16, feed_forward: 16}}
  training: {{epochs: 2, learning_rate: 3e-3, batch_size: 16}}
student:
  model: {{backbone: test_resnet, image_px: 32, head: {{kind: label_decoder, embedding: 8, feed_forward: 8}}}}
  training:
    epochs: 2
    learning_rate: 3e-3
    batch_size: 16
    losses:
      [{{kind: bce}}, {{kind: label_kl}}, {{kind: class_aware, weight: 0.1}}, {{kind: instance_aware, weight: 0.1}}]
baseline: {{epochs: 2, learning_rate: 3e-3, batch_size: 16}}
export:
  calibration_images: 16
  budget: {{keep: 0.5}}
  parity: {{fp32: {{max_difference: 1e-3, map_loss: 0.01}}, bf16: {{}}, fp16: {{}}, int8: {{}}}}
bench:
  {{processes: 1, queries: 8, images: 4, warm_up_s: 0.1}}
"""
ENGINE = """
  engines: [{name: onnxruntime-int8, precision: int8_x86, backend: {kind: onnxruntime}}]
"""
ON_EMBEDDINGS = ", {kind: class_aware, weight: 0.1}, {kind: instance_aware, weight: 0.1}"  # a pooled head has none


def draw(folder: Path, seed: int = 0) -> None:
    """folder/cutouts/LABEL/*.png, blobs of one colour a label, and folder/backgrounds/*.png in greys."""
    rng = np.random.default_rng(seed)
    for label, colour in COLOURS.items():
        (folder / "cutouts" / label).mkdir(parents=True)
        for number in range(12):
            blob(colour, rng).save(folder / "cutouts" / label / f"{number}.png")
    (folder / "backgrounds").mkdir()
    for number in range(6):
        greys = rng.integers(60, 200, (8, 8), dtype=np.uint8)
        image = Image.fromarray(greys).convert("RGB").resize((160, 120), Image.Resampling.BICUBIC)
        image.save(folder / "backgrounds" / f"{number}.png")


def blob(colour: tuple[int, int, int], rng: np.random.Generator) -> Image.Image:
    """An irregular shape with alpha whose light and dark patches tell it from its like."""
    corners = int(rng.integers(5, 10))
    angles, radii = np.linspace(0, 2 * np.pi, corners, endpoint=False), rng.uniform(25, 47, corners)
    points = [(48 + r * np.cos(a), 48 + r * np.sin(a)) for a, r in zip(angles, radii, strict=True)]
    mask = Image.new("L", (96, 96), 0)
    ImageDraw.Draw(mask).polygon(points, fill=255)
    light = np.kron(rng.uniform(0.3, 1.0, (4, 4, 1)), np.ones((24, 24, 1)))
    image = Image.fromarray((light * np.array(colour)).astype(np.uint8))
    image.putalpha(mask)
    return image


def write_recipe(folder: Path, work: Path, name: str = "tiny") -> Path:
    """The recipe for what `draw` drew in `folder`, in `work`."""
    work.mkdir(parents=True, exist_ok=True)
    file = work / f"{name}.yaml"
    file.write_text(RECIPE.format(folder=folder))
    return file


def with_search(drawn: Path, search: str) -> str:
    """The recipe with one engine, a pooled head, and this section `search`."""
    text = RECIPE.format(folder=drawn).replace("export:\n", f"export:{ENGINE}").replace(ON_EMBEDDINGS, "")
    return f"{text}\nsearch: {{{search}}}\n"
