"""Tag images with OpenVINO Model API and a model of convert.py.

python tag.py tagger.xml photo.jpg …
"""

import sys

import numpy as np
from model_api.adapters import OpenvinoAdapter
from model_api.models import Model
from openvino import Core
from PIL import Image, ImageOps

if len(sys.argv) < 2:
    sys.exit("usage: tag.py MODEL.xml IMAGE...")
in_float32 = {"INFERENCE_PRECISION_HINT": "f32"}  # processors with AMX would compute in bfloat16
model = Model.create_model(OpenvinoAdapter(Core(), sys.argv[1], device="CPU", plugin_config=in_float32))
side = model.w
for name in sys.argv[2:]:
    image = Image.open(name)
    image.draft("RGB", (2 * side, 2 * side))
    image = ImageOps.exif_transpose(image)
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    # Model API would resize without antialiasing
    pixels = np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR))
    tags = sorted(model(pixels[..., ::-1]).top_labels, key=lambda tag: -tag.confidence)
    print(f"{name}: {', '.join(f'{tag.name} {tag.confidence:.2f}' for tag in tags) or 'nothing above its threshold'}")
