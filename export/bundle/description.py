"""The file tagger.json of a bundle: all that a program in another language needs, and nothing else.

Its JSON schema is docs/tagger.schema.json.
"""

from __future__ import annotations

import json
from typing import Any

from export.bundle.golden import Golden
from export.bundle.manifest import EngineEntry, Manifest

DESCRIPTION = "tagger.json"
VERSION = 1  # raised if a reader of the older version would go wrong, so with every change of the preprocessing
PORTABLE = ("onnxruntime", "openvino")  # runtimes whose files run on other machines
DIGITS = 6  # of the golden scores


def describe(manifest: Manifest, golden: Golden) -> str:
    """The content of tagger.json; equal for equal arguments.

    It has labels, the interface of the graphs, the preprocessing, the portable models with their thresholds, and the
    golden images with the scores that each model is expected to give.
    """
    models = [entry for entry in manifest.engines if entry.backend["kind"] in PORTABLE]
    content = {
        "format": "edge-tagger",
        "version": VERSION,
        "name": manifest.recipe,
        "labels": manifest.labels,
        "input": {
            "name": "images",
            "dtype": "uint8",
            "shape": ["batch", manifest.image_px, manifest.image_px, 3],
            "layout": "NHWC",
            "colour": "RGB",
        },
        "output": {"name": "scores", "dtype": "float32", "shape": ["batch", len(manifest.labels)], "range": [0, 1]},
        "preprocessing": manifest.preprocessing,
        "models": [_model(entry) for entry in models],
        "golden": [
            {
                "image": path,
                "scores": {entry.name: _rounded(golden.scores[entry.name][index].tolist()) for entry in models},
            }
            for index, path in enumerate(manifest.golden)
        ],
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _model(entry: EngineEntry) -> dict[str, Any]:
    compute = {"compute": entry.backend["compute"]} if "compute" in entry.backend else {}
    return {
        "name": entry.name,
        "runtime": entry.backend["kind"],
        "device": str(entry.backend["device"]).lower(),
        "file": entry.file,
        "precision": entry.precision,
        **compute,
        "meant_for": entry.meant_for,
        "thresholds": entry.thresholds,
    }


def _rounded(scores: list[float]) -> list[float]:
    return [round(score, DIGITS) for score in scores]
