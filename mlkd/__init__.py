"""LEARNS: losses, models, data and training of multi-label taggers; `labels`, `images` and `metrics` need no torch."""

import os

# ONNX Runtime 1.31 writes an identity and a database of events into the user's cache when it is first imported, unless
# this is set before.  Set here, because every module that imports it lies in this package or in one that imports it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
