"""The page that tags images in a browser: its sources, ONNX Runtime for WebAssembly, the choice of the graph."""
