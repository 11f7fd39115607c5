"""From a trained tagger to an ONNX graph, and how far graphs are from each other."""
