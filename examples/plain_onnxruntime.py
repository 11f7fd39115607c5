"""Read a bundle without this project: numpy, Pillow and ONNX Runtime.  Hashes are not checked.

python examples/plain_onnxruntime.py dist/scenes photo.jpg
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

folder = Path(sys.argv[1])
manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
engine = next(entry for entry in manifest["engines"] if entry["file"] == "models/fp32.onnx")
session = onnxruntime.InferenceSession(str(folder / engine["file"]), providers=["CPUExecutionProvider"])
side = manifest["image_px"]
image = Image.open(sys.argv[2])
image.draft("RGB", (2 * side, 2 * side))  # JPEG: decode at the smallest scale of at least twice the side
pixels = np.asarray(ImageOps.exif_transpose(image).convert("RGB").resize((side, side), Image.Resampling.BILINEAR))
scores = session.run(None, {session.get_inputs()[0].name: pixels[None]})[0][0]
for label, score, threshold in zip(manifest["labels"], scores, engine["thresholds"], strict=True):
    if score >= threshold:
        print(f"{label} {score:.2f}")
