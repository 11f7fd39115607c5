"""FREEZES: a trained tagger to ONNX graphs, engines and a bundle."""
