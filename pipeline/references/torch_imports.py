"""How long it takes to import what a net in torch needs, in the process that imports this before all else."""

import time
from importlib import import_module

_began = time.perf_counter_ns()
import_module("mlkd.models.checkpoint")
IMPORTS_MS = (time.perf_counter_ns() - _began) / 1e6
