"""FREEZES: a trained tagger to ONNX graphs, engines and a bundle."""

import mlkd  # noqa: F401  (it sets what ONNX Runtime must find in the environment before it is imported)
