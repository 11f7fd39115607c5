"""Write a model repository for Triton Inference Server.

python write_repository.py dist/scenes model_repository
"""

import json
import shutil
import sys
from pathlib import Path

CONFIG = """\
name: {name}
backend: "onnxruntime"
max_batch_size: 32
input [ {{ name: {input} data_type: TYPE_UINT8 dims: {image} }} ]
output [ {{ name: {output} data_type: TYPE_FP32 dims: [ {count} ] label_filename: "labels.txt" }} ]
dynamic_batching {{ max_queue_delay_microseconds: 1000 }}
instance_group [ {{ kind: KIND_CPU count: 1 }} ]
parameters {{ key: "thresholds" value: {{ string_value: {thresholds} }} }}
"""

if len(sys.argv) != 3:
    sys.exit("usage: write_repository.py BUNDLE REPOSITORY")
bundle, repository = Path(sys.argv[1]), Path(sys.argv[2])
tagger = json.loads((bundle / "tagger.json").read_text(encoding="utf-8"))
if tagger["version"] != 1:
    sys.exit(f"{bundle}/tagger.json: expected version 1, got {tagger['version']}")
model = next(m for m in tagger["models"] if m["runtime"] == "onnxruntime" and m["precision"] == "fp32")
folder = repository / tagger["name"]
if folder.exists():
    sys.exit(f"{folder}: expected no folder of this name; remove it, or choose another repository")
(folder / "1").mkdir(parents=True)
shutil.copyfile(bundle / model["file"], folder / "1/model.onnx")
(folder / "labels.txt").write_text("".join(f"{label}\n" for label in tagger["labels"]), encoding="utf-8")
config = CONFIG.format(
    name=json.dumps(tagger["name"]),
    input=json.dumps(tagger["input"]["name"]),
    image=tagger["input"]["shape"][1:],
    output=json.dumps(tagger["output"]["name"]),
    count=len(tagger["labels"]),
    thresholds=json.dumps(json.dumps(dict(zip(tagger["labels"], model["thresholds"], strict=True)))),
)
(folder / "config.pbtxt").write_text(config, encoding="utf-8")
