"""Why an int8 engine is no faster than float, from its own profile, and whether this processor computes it right."""

from benchmarks.doctor.diagnosis import Built, Diagnosis, diagnose, pairs
from benchmarks.doctor.drift import Drift, compare, measure_drift

__all__ = ["Built", "Diagnosis", "Drift", "compare", "diagnose", "measure_drift", "pairs"]
