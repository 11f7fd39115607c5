"""Exports a trained tagger to an ONNX graph, and compares the scores of graphs."""
