"""Write a model that OpenVINO Model API loads with its labels and the tagger's thresholds.

python convert.py dist/scenes tagger.xml

Model API applies the sigmoid itself, and one threshold to all labels.  The model that is written has each logit less
the logit of its threshold: a label is a tag above a confidence of 0.5.
"""

import json
import sys
from pathlib import Path

import numpy as np
import openvino
from openvino import opset13 as operations

STEPS = {  # of tag.py, as tagger.json describes them
    "jpeg": "decoded at the smallest DCT scale that is at least twice image_px",
    "resize": "plain, to a square, Pillow BILINEAR (antialiased)",
    "values": "uint8, normalisation is inside the model",
}
if len(sys.argv) != 3:
    sys.exit("usage: convert.py BUNDLE MODEL.xml")
bundle = Path(sys.argv[1])
file = bundle / "tagger.json"
tagger = json.loads(file.read_text(encoding="utf-8"))
if tagger["version"] != 1 or not STEPS.items() <= tagger["preprocessing"].items():
    sys.exit(f"{file}: expected version 1 and {STEPS}, got {tagger['version']} and {tagger.get('preprocessing')}")
entry = next(m for m in tagger["models"] if m["runtime"] == "openvino" and m["precision"] == "fp32")
model = openvino.Core().read_model(bundle / entry["file"])
side = tagger["input"]["shape"][1]
model.reshape([1, side, side, 3])
sigmoid = model.output().node.input_value(0).node
if sigmoid.get_type_name() != "Sigmoid":
    sys.exit(f"{entry['file']}: expected a Sigmoid as last operation, got {sigmoid.get_type_name()}")
thresholds = np.clip(np.array(entry["thresholds"], np.float64), 1e-6, 1 - 1e-6)
offsets = np.log(thresholds / (1 - thresholds)).astype(np.float32)
logits = operations.subtract(sigmoid.input_value(0), operations.constant(offsets[None]))
logits.output(0).set_names({"logits"})
model = openvino.Model([logits], model.get_parameters(), tagger["name"])
model.get_parameters()[0].set_layout(openvino.Layout("NHWC"))
facts = {
    "model_type": "Classification",
    "multilabel": "True",
    "labels": " ".join(label.replace(" ", "_") for label in tagger["labels"]),  # Model API splits them at spaces
    "confidence_threshold": "0.5",
    "resize_type": "standard",
    "reverse_input_channels": "True",  # images in BGR, as OpenCV reads them
}
for name, value in facts.items():
    model.set_rt_info(value, ["model_info", name])
openvino.save_model(model, sys.argv[2], compress_to_fp16=False)
