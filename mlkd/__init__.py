"""LEARNS: losses, models, data and training of multi-label taggers; `labels`, `images` and `metrics` need no torch."""

import os
import sys

# No runtime reports its use to its maker.  Set here, because every module that imports a runtime lies in this package
# or in one that imports it.
# ONNX Runtime 1.31 writes an identity and a database of events into the user's cache when it is first imported, unless
# this is set before.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
# OpenVINO and NNCF look up a host and write ~/intel when they are imported, unless this package cannot be imported.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
