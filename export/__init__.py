"""FREEZES: a trained tagger to ONNX graphs, engines and a bundle."""

import mlkd  # noqa: F401  (sets environment variables that ONNX Runtime needs before its import)

__version__ = "0.1.0"
