"""Tag images with ONNX Runtime, numpy and Pillow.

python tag.py dist/scenes photo.jpg …
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

STEPS = {  # of this program, as tagger.json describes them
    "jpeg": "decoded at the smallest DCT scale that is at least twice image_px",
    "resize": "plain, to a square, Pillow BILINEAR (antialiased)",
    "values": "uint8, normalisation is inside the model",
}
if len(sys.argv) < 2:
    sys.exit("usage: tag.py BUNDLE IMAGE...")
bundle = Path(sys.argv[1])
file = bundle / "tagger.json"
tagger = json.loads(file.read_text(encoding="utf-8"))
if tagger["version"] != 1 or not STEPS.items() <= tagger["preprocessing"].items():
    sys.exit(f"{file}: expected version 1 and {STEPS}, got {tagger['version']} and {tagger.get('preprocessing')}")
model = next(m for m in tagger["models"] if m["runtime"] == "onnxruntime" and m["precision"] == "fp32")
session = onnxruntime.InferenceSession(bundle / model["file"], providers=["CPUExecutionProvider"])
side = tagger["input"]["shape"][1]
for name in sys.argv[2:]:
    image = Image.open(name)
    image.draft("RGB", (2 * side, 2 * side))  # a JPEG is decoded at the smallest scale of at least twice the side
    image = ImageOps.exif_transpose(image)
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    pixels = np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR))
    scores = session.run(["scores"], {"images": pixels[None]})[0][0]
    tags = [row for row in zip(scores, tagger["labels"], model["thresholds"], strict=True) if row[0] >= row[2]]
    texts = [f"{label} {score:.2f}" for score, label, _ in sorted(tags, reverse=True)]
    print(f"{name}: {', '.join(texts) or 'nothing above its threshold'}")
