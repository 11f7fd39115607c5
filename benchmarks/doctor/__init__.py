"""Why an int8 engine is no faster than float, told from the engine's own profile."""

from benchmarks.doctor.diagnosis import Built, Diagnosis, diagnose, pairs
from benchmarks.doctor.text import render

__all__ = ["Built", "Diagnosis", "diagnose", "pairs", "render"]
