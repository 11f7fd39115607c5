"""Imports what commands need into the process that they fork from, without searching for garbage."""

import atexit
import gc
from importlib import import_module

STAGES = ("data", "student", "teacher_outputs", "onnx", "engines", "bundle", "references", "bench", "report")
MODULES = (
    "pipeline.references.torch_process", "pipeline.__main__", "accelerate", "torch.utils.tensorboard",
    "tests.helpers.launches",
)  # fmt: skip

gc.disable()
for name in (*MODULES, *(f"pipeline.stages.{stage}" for stage in STAGES)):
    import_module(name)
gc.freeze()  # a search for garbage would also copy the memory that forked processes share
atexit.register(gc.unfreeze)  # or nanobind takes what was imported for leaks
gc.enable()
